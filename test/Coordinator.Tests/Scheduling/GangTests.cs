using MLDistributed.Coordinator.Scheduling;

namespace MLDistributed.Coordinator.Tests.Scheduling;

/// <summary>Jobs whose ranks are on several workers: all of them, or none.</summary>
[TestClass]
public sealed class GangTests
{
    private const int Seeds = 300;

    [TestMethod]
    // ranks min, max, a worker's min, max | free of total on each worker | ranks of each worker, or why it waits
    [DataRow(Placement.Pack, 4, 4, 1, 0, "2/2 2/2", "w0:2 w1:2")]
    [DataRow(Placement.Pack, 3, 3, 1, 0, "2/2 2/2", "w0:2 w1:1", DisplayName = "to pack, the first are filled")]
    [DataRow(Placement.Spread, 3, 3, 1, 0, "4/4 4/4 4/4", "w0:1 w1:1 w2:1", DisplayName = "to spread, all get some")]
    [DataRow(Placement.Spread, 1, 5, 2, 0, "4/4 4/4 4/4", "w0:3 w1:2", DisplayName = "to spread, no more workers than the least on each allows")]
    [DataRow(Placement.Spread, 1, 6, 1, 0, "1/1 4/4 4/4", "w1:3 w2:2 w0:1", DisplayName = "to spread, as equal as their slots allow")]
    [DataRow(Placement.Pack, 1, 5, 2, 0, "4/4 4/4", "w0:3 w1:2", DisplayName = "no worker gets less than the least")]
    [DataRow(Placement.Pack, 1, 0, 1, 0, "2/2 1/3", "w0:2 w1:1", DisplayName = "max 0 takes all that is free")]
    [DataRow(Placement.Pack, 1, 2, 1, 0, "8/8 2/2", "w1:2", DisplayName = "what one worker can hold leaves the large one whole")]
    [DataRow(Placement.Pack, 1, 5, 1, 0, "4/4 3/3 1/1", "w0:4 w2:1", DisplayName = "the rest goes where it leaves the least")]
    [DataRow(Placement.Pack, 2, 2, 1, 1, "2/2 2/2", "w0:1 w1:1", DisplayName = "at most so many on each")]
    [DataRow(Placement.Pack, 4, 4, 1, 0, "2/2 1/2", "waits for 4 ranks on workers that can meet; 2 are free on \"host0\" and 1 is free on \"host1\"")]
    [DataRow(Placement.Pack, 4, 4, 2, 2, "2/2 1/1", "needs 4 ranks on workers that can meet, at least 2 and at most 2 on each; \"host0\" has 2")]
    [DataRow(Placement.Spread, 8, 0, 1, 0, "2/2 1/1", "needs 8 ranks on workers that can meet; \"host0\" has 2 and \"host1\" has 1")]
    public void Job_OfSeveralWorkers_IsPlacedOrWaitsWithAReason(Placement placement, int min, int max, int least, int most, string workers, string expected)
    {
        var job = Job("job", 1, min, max) with { Placement = placement, MinPerWorker = least, MaxPerWorker = most };

        Assert.AreEqual(expected, Outcome(Decide([job], Workers(workers)).Single()));
    }

    [TestMethod]
    [DataRow(1, 4, "w1:2", DisplayName = "goes on on what is left")]
    [DataRow(3, 4, "w0:2 w1:2", DisplayName = "the others could not hold it")]
    public void Worker_InDoubt_IsLeftOutWhereTheOthersCanHoldTheJob(int min, int max, string expected)
    {
        var workers = Workers("2/2 2/2");
        workers[0] = workers[0] with { Doubt = "it failed" };

        Assert.AreEqual(expected, Outcome(Decide([Job("job", 1, min, max) with { Placement = Placement.Spread }], workers).Single()));
    }

    [TestMethod]
    public void Workers_ThatCannotMeet_HaveNoJobTogether()
    {
        var job = Job("job", 1, 4, 4) with { Placement = Placement.Pack };
        var workers = Workers("2/2 2/2 3/3");

        var apart = Decide([job], [workers[0], workers[1] with { Meeting = "", CannotMeet = "was started without --network" }]).Single();
        var differ = Decide([job], [workers[0], workers[1] with { Meeting = "build 2" }]).Single();
        var third = Decide([job], [workers[0], workers[1] with { Meeting = "build 2" }, workers[2]]).Single();

        Assert.AreEqual("needs 4 ranks on workers that can meet; \"host0\" has 2; \"host1\" was started without --network", apart.Reason);
        Assert.AreEqual("needs 4 ranks on workers that can meet; \"host0\" has 2; \"host0\" has build 1 and \"host1\" has build 2, expected the same on all", differ.Reason);
        Assert.AreEqual("w2:3 w0:1", Outcome(third));
    }

    [TestMethod]
    public void Worker_WithoutNetwork_HoldsWhatItCanHoldAlone()
    {
        var workers = Workers("2/2 2/2").Select(w => w with { Meeting = "" }).ToArray();

        Assert.AreEqual("w0:2", Outcome(Decide([Job("job", 1, 2, 2) with { Placement = Placement.Pack }], workers).Single()));
        Assert.AreEqual("w0:1", Outcome(Decide([Job("job", 1, 1, 2) with { Placement = Placement.Spread, MaxPerWorker = 1 }], workers).Single()));
    }

    [TestMethod]
    public void Gpus_OfSeveralWorkers_AreJoinedByOneNccl()
    {
        var job = Job("job", 1, 3, 4) with { Placement = Placement.Pack };
        var workers = Workers("2/2 2/2", DeviceKind.Cuda).Select(w => w with { Nccl = "2.27.5", Slots = [.. w.Slots.Select(s => s with { Model = "H" })] }).ToArray();

        Assert.AreEqual("w0:2 w1:2", Outcome(Decide([job], workers).Single()));
        Assert.AreEqual("needs 3 ranks on workers that can meet; \"host0\" has 2; \"host0\" has build 1 and NCCL 2.27.5 and H and \"host1\" has build 1 and NCCL 2.28.1 and H, expected the same on all",
            Decide([job], [workers[0], workers[1] with { Nccl = "2.28.1" }]).Single().Reason);
        Assert.AreEqual("needs 3 ranks on workers that can meet; \"host0\" has 2; \"host1\" has GPUs without NCCL (libnccl.so.2 was not found)",
            Decide([job], [workers[0], workers[1] with { Nccl = "", NoNccl = "libnccl.so.2 was not found" }]).Single().Reason);
        StringAssert.EndsWith(Decide([job], [workers[0], workers[1] with { Meeting = "", CannotMeet = "was started without --network" }]).Single().Reason, "\"host1\" was started without --network");
    }

    [TestMethod]
    // placement, ranks min, max, whether models may be mixed | models of each worker's GPUs, in capitals where free | ranks of each worker by model, or why it waits
    [DataRow(Placement.OneWorker, 2, 2, false, "Aa BB", "w1:BB")]
    [DataRow(Placement.OneWorker, 1, 0, false, "AAB BB", "w0:AA", DisplayName = "max 0 takes those of one model")]
    [DataRow(Placement.OneWorker, 1, 0, true, "AAB BB", "w0:AAB", DisplayName = "mixed, it takes all")]
    [DataRow(Placement.OneWorker, 3, 3, false, "AAB BB", "needs 3 ranks on one worker; the largest worker has 2 of one model; GPUs of several models could hold it, with MixedDevices")]
    [DataRow(Placement.OneWorker, 2, 2, false, "AaB", "waits for 2 ranks on one worker; 1 is free on \"host0\"; GPUs of several models are free, which MixedDevices would take")]
    [DataRow(Placement.Pack, 4, 4, false, "AA BB AA", "w0:AA w2:AA")]
    [DataRow(Placement.Pack, 2, 0, false, "AB AA BB", "w1:AA w0:A", DisplayName = "of a worker with two models it has those of one")]
    [DataRow(Placement.Pack, 2, 0, false, "AB AA BB BB", "w2:BB w3:BB w0:B", DisplayName = "of the model that has the most free")]
    [DataRow(Placement.Spread, 3, 3, true, "AB AA BB", "w0:A w1:A w2:B")]
    [DataRow(Placement.Pack, 4, 4, true, "AA BB", "w0:AA w1:BB")]
    [DataRow(Placement.Pack, 4, 4, false, "AA BB", "needs 4 ranks on workers that can meet; \"host0\" has 2; \"host0\" has build 1 and NCCL 2.27.5 and GPU A and \"host1\" has build 1 and NCCL 2.27.5 and GPU B, expected the same on all; GPUs of several models could hold it, with MixedDevices")]
    [DataRow(Placement.Pack, 3, 3, false, "AA aa B", "waits for 3 ranks on workers that can meet; 2 are free on \"host0\" and 0 are free on \"host1\"; GPUs of several models are free, which MixedDevices would take")]
    [DataRow(Placement.Pack, 8, 8, true, "AA BB", "needs 8 ranks on workers that can meet; \"host0\" has 2 and \"host1\" has 2")]
    [DataRow(Placement.Pack, 3, 3, false, "AABB", "needs 3 ranks on workers that can meet; \"host0\" has 2; \"host0\" has build 1 and NCCL 2.27.5 and GPU A and \"host0\" has build 1 and NCCL 2.27.5 and GPU B, expected the same on all; GPUs of several models could hold it, with MixedDevices")]
    [DataRow(Placement.OneWorker, 2, 2, true, "ABA", "w0:AA", DisplayName = "who may mix need not")]
    [DataRow(Placement.Pack, 4, 4, true, "AA BB AA", "w0:AA w2:AA", DisplayName = "who may mix need not, on several workers")]
    [DataRow(Placement.Pack, 4, 4, false, "?? ??", "needs 4 ranks on workers that can meet; there are none of one model; GPUs of several models could hold it, with MixedDevices; \"host0\" has GPUs of a model that is not known and \"host1\" has GPUs of a model that is not known", DisplayName = "models that are not known are not one")]
    [DataRow(Placement.Pack, 2, 2, false, "?? ??", "w0:??", DisplayName = "but of one worker they are")]
    [DataRow(Placement.Pack, 4, 4, true, "?? ??", "w0:?? w1:??")]
    public void Gpus_OfAGang_AreOfOneModelUnlessItMixesThem(Placement placement, int min, int max, bool mixes, string models, string expected)
    {
        var workers = Gpus(models);

        var decision = Decide([Job("job", 1, min, max) with { Placement = placement, MixesModels = mixes }], workers).Single();

        Assert.AreEqual(expected, Outcome(decision, workers));
    }

    [TestMethod]
    // ranks, the least on a worker | models of each worker's GPUs | why it can never be placed
    [DataRow(8, 4, "AABB AABB", "needs 8 ranks on workers that can meet, at least 4 on each; there are none of one model; GPUs of several models could hold it, with MixedDevices")]
    [DataRow(6, 2, "AAB AAB", "needs 6 ranks on workers that can meet, at least 2 on each; \"host0\" has 2 and \"host1\" has 2; GPUs of several models could hold it, with MixedDevices")]
    [DataRow(10, 5, "AABB AABB", "needs 10 ranks on workers that can meet, at least 5 on each; there are none")]
    public void Gang_OfNoModel_IsToldWhereMixedItCouldBe(int ranks, int least, string models, string expected) =>
        Assert.AreEqual(expected, Decide([Job("job", 1, ranks, ranks) with { Placement = Placement.Pack, MinPerWorker = least }], Gpus(models)).Single().Reason);

    [TestMethod]
    // placement, ranks max | models of each worker's GPUs, in capitals where free, of which A has the most memory | ranks of each worker by model
    [DataRow(Placement.OneWorker, 1, "ABBBB", "w0:A")]
    [DataRow(Placement.OneWorker, 1, "BAAAA", "w0:A", DisplayName = "one of several strong ones, not the only weak one")]
    [DataRow(Placement.OneWorker, 0, "BA", "w0:A")]
    [DataRow(Placement.OneWorker, 0, "aAAAAAAAB", "w0:AAAAAAA", DisplayName = "a model of which all is free is no idle worker")]
    [DataRow(Placement.OneWorker, 0, "bAA BBB", "w1:BBB", DisplayName = "an idle worker is")]
    [DataRow(Placement.OneWorker, 1, "BB AA", "w1:A", DisplayName = "of several workers")]
    [DataRow(Placement.OneWorker, 1, "AAA AA", "w1:A", DisplayName = "of one model, what leaves the large one whole")]
    [DataRow(Placement.Pack, 4, "BB AA BB AA", "w1:AA w3:AA")]
    public void Gpus_OfSeveralModels_AreTakenFromTheOneWithTheMostMemory(Placement placement, int max, string models, string expected)
    {
        var workers = Gpus(models, m => m == 'B' ? 2L << 30 : 80L << 30);

        Assert.AreEqual(expected, Outcome(Decide([Job("job", 1, 1, max) with { Placement = placement }], workers).Single(), workers));
    }

    [TestMethod]
    // ranks max | models of a worker's GPUs | why so
    [DataRow(0, "AAB", "placed on \"host0\" with 2 ranks of cuda; GPUs of other models are left out, with which it would have 3 ranks (MixedDevices)")]
    [DataRow(2, "AAB", "placed on \"host0\" with 2 ranks of cuda")]
    [DataRow(0, "AAA", "placed on \"host0\" with 3 ranks of cuda")]
    public void Gpus_OfOtherModels_AreLeftOutWithAWord(int max, string models, string expected) =>
        Assert.AreEqual(expected, Decide([Job("job", 1, 1, max)], Gpus(models)).Single().Reason);

    [TestMethod]
    public void Gpus_OfAWorkerWithoutNetwork_AreCountedFreeByTheModelThatHasTheMost() =>
        Assert.AreEqual("waits for 3 ranks on workers that can meet; 2 are free on \"host0\"",
            Decide([Job("job", 1, 3, 3) with { Placement = Placement.Pack }], [Gpus("aaaaBB")[0] with { Meeting = "" }]).Single().Reason);

    [TestMethod]
    public void Slots_OfCpusThatAreTooFew_AreOfNoModel() =>
        Assert.AreEqual("needs 8 ranks on one worker; the largest worker has 6; GPUs of several models could hold it, with MixedDevices",
            Decide([Job("job", 1, 8, 8)], [.. Workers("6/6"), Gpus("AAAABBBB")[0] with { Id = "gpus" }]).Single().Reason);

    [TestMethod]
    [DataRow("AB", "needs 1 rank on one worker; the largest worker has 0; 2 slots of \"host0\" cannot be used: it is cordoned", DisplayName = "two models of one worker are no others")]
    [DataRow("A B", "needs 1 rank on one worker; the largest worker has 0; 2 slots of \"host0\" and others cannot be used: it is cordoned")]
    public void Gpus_ThatCannotBeUsed_AreOfTheWorkersNamed(string models, string expected) =>
        Assert.AreEqual(expected, Decide([Job("job", 1, 1, 1)], [.. Gpus(models).Select(w => w with { Slots = [.. w.Slots.Select(s => s with { Fault = "it is cordoned" })] })]).Single().Reason);

    [TestMethod]
    // ranks and models of the job that waits | what the one behind it gets
    [DataRow(8, "aaaa aaaa BB", "w2:1", DisplayName = "GPUs with which it would still not have enough")]
    [DataRow(8, "aaaA aaaa BB", "w2:1", DisplayName = "nor of these those of its model")]
    [DataRow(2, "aaaa aaaa bB", "waits behind job \"gang\", which came first", DisplayName = "but those with which it would")]
    public void Gang_ThatWaits_LeavesTheModelsThatItCouldNeverHave(int ranks, string models, string expected)
    {
        var decisions = Decide([Job("gang", 1, ranks, 0) with { Placement = Placement.Pack, MinPerWorker = 2 }, Job("small", 2, 1, 1)], Gpus(models));

        Assert.IsEmpty(decisions[0].Shares, decisions[0].Reason);
        Assert.AreEqual(expected, Outcome(decisions[1]));
    }

    // A job keeps the workers free that it could use, however those behind it look at the same GPUs.
    [TestMethod]
    [DataRow(true, 3, "AAb", false, 2, "waits behind job \"first\", which came first", DisplayName = "who mixes keeps those of each model")]
    [DataRow(false, 2, "AaB", true, 2, "waits behind job \"first\", which came first", DisplayName = "who does not keeps what would be mixed with them")]
    [DataRow(false, 3, "AaB CCC", true, 2, "w0:2", DisplayName = "but not those that it could never use")]
    public void Gang_ThatWaits_KeepsItsGpusFreeOfTheOthers(bool firstMixes, int firstRanks, string models, bool mixes, int ranks, string expected)
    {
        var workers = models.Split(' ').Select((gpus, i) => new WorkerCapacity($"w{i}", $"host{i}", [.. gpus.Select((m, s) => new WorkerSlot(s, DeviceKind.Cuda, char.IsUpper(m) && m != 'C') { Model = $"GPU {char.ToUpperInvariant(m)}" })])).ToArray();

        var decisions = Decide([Job("first", 1, firstRanks, firstRanks) with { MixesModels = firstMixes }, Job("second", 2, ranks, ranks) with { MixesModels = mixes }], workers);

        Assert.IsEmpty(decisions[0].Shares, decisions[0].Reason);
        Assert.AreEqual(expected, Outcome(decisions[1]));
    }

    [TestMethod]
    public void Gpus_WithoutNccl_AreUsedOnOneWorker() =>
        Assert.AreEqual("w0:2", Outcome(Decide([Job("job", 1, 1, 4) with { Placement = Placement.Pack }], Workers("2/2 2/2", DeviceKind.Cuda)).Single()));

    [TestMethod]
    public void Gang_ThatWaits_KeepsAllItsWorkersFree()
    {
        var gang = Job("gang", 1, 4, 4) with { Placement = Placement.Pack };

        var decisions = Decide([gang, Job("small", 2, 1, 1), gang with { Id = OpaqueId.Parse("second"), Name = "second", Number = 3 }], Workers("2/2 0/2"));

        CollectionAssert.AreEqual(
            new[] { "waits for 4 ranks on workers that can meet; 2 are free on \"host0\" and 0 are free on \"host1\"", "waits behind job \"gang\", which came first", "waits behind job \"gang\", which came first" },
            decisions.Select(Outcome).ToArray());
    }

    // Random clusters and jobs, whose attempts end at random: every gang has all that it asked for or nothing, and while
    // nothing new comes, all that the workers can hold are placed in the end.
    [TestMethod]
    public void Gangs_OfRandomJobsOnRandomWorkers_AreWholeAndGetOn()
    {
        for (var seed = 0; seed < Seeds; seed++)
        {
            var random = new Random(seed);
            var (queue, slots) = (new JobQueue(), new SlotIndex());
            var workers = Enumerable.Range(0, random.Next(1, 7)).Select(i => RandomWorker(random, i)).ToDictionary(w => w.Id);
            foreach (var worker in workers.Values)
                slots.Put(worker);
            var jobs = Enumerable.Range(0, 20).Select(i => RandomJob(random, i)).ToDictionary(j => j.Id);
            foreach (var job in jobs.Values)
                queue.Put(job);
            var running = new Dictionary<OpaqueId, SchedulingDecision>();
            while (true)
            {
                while (Scheduler.Decide(queue, slots) is { } next)
                {
                    Check(jobs[next.JobId], next, workers, $"seed {seed}: {next.Reason}");
                    running.Add(next.JobId, next);
                    queue.Remove(next.JobId);
                    foreach (var share in next.Shares)
                        Put(workers[share.WorkerId].Without(share.Slots));
                }

                foreach (var waiting in jobs.Values.Where(j => queue.Find(j.Id) is not null))
                    Assert.AreNotEqual("", Scheduler.Explain(waiting, queue.Heads(slots), slots));
                if (running.Count == 0)
                    break;
                var (ended, decision) = running.ElementAt(random.Next(running.Count));
                running.Remove(ended);
                // One worker after the other tells that its part has ended.
                foreach (var share in decision.Shares)
                    Put(workers[share.WorkerId] with { Slots = [.. workers[share.WorkerId].Slots.Select(s => share.Slots.Contains(s.Index) ? s with { IsFree = true } : s)] });
            }

            foreach (var left in jobs.Values.Where(j => queue.Find(j.Id) is not null))
                Assert.IsFalse(slots.CanHold(left), $"seed {seed}: {left} waits though nothing runs");

            void Put(WorkerCapacity worker) => slots.Put(workers[worker.Id] = worker);
        }
    }

    private static void Check(PendingJob job, SchedulingDecision decision, Dictionary<string, WorkerCapacity> workers, string message)
    {
        var shares = decision.Shares;
        var ranks = shares.Sum(s => s.Slots.Count);
        Assert.IsTrue(ranks >= job.MinRanks && (job.MaxRanks == 0 || ranks <= job.MaxRanks), message);
        Assert.HasCount(shares.Count, shares.Select(s => s.WorkerId).Distinct().ToList(), message);
        var taken = shares.SelectMany(s => s.Slots.Select(i => workers[s.WorkerId].Slots[i])).ToList();
        Assert.IsTrue(taken.All(s => s is { IsFree: true, Fault: "" } && (job.Device == DeviceKind.Any || s.Kind == job.Device)), message);
        Assert.HasCount(1, taken.Select(s => (s.Kind, job.MixesModels || s.Kind == DeviceKind.Cpu ? "" : s.Model)).Distinct().ToList(), message);
        if (shares.Count > 1)
        {
            var isCpu = taken[0].Kind == DeviceKind.Cpu;
            var meet = shares.Select(s => (workers[s.WorkerId].Meeting, Nccl: isCpu ? "" : workers[s.WorkerId].Nccl)).Distinct().ToList();
            Assert.HasCount(1, meet, message);
            Assert.IsTrue(meet[0].Meeting.Length > 0 && (isCpu || meet[0].Nccl.Length > 0), message);
        }

        if (job.Placement == Placement.OneWorker)
            Assert.HasCount(1, shares, message);
        else
            Assert.IsTrue(shares.All(s => s.Slots.Count >= job.MinPerWorker && (job.MaxPerWorker == 0 || s.Slots.Count <= job.MaxPerWorker)), message);
    }

    private static WorkerCapacity RandomWorker(Random random, int number) => new($"w{number}", $"host{number}", [.. Enumerable.Range(0, random.Next(1, 7)).Select(i =>
        new WorkerSlot(i, random.Next(4) == 0 ? DeviceKind.Cuda : DeviceKind.Cpu, true, random.Next(8) == 0 ? "broken" : "") { Model = $"GPU {random.Next(4) / 3}" })])
    {
        Meeting = random.Next(4) switch { 0 => "", 1 => "build 2", _ => "build 1" },
        CannotMeet = "was started without --network",
        Nccl = random.Next(4) switch { 0 => "", 1 => "2.21.5", _ => "2.27.5" },
    };

    private static PendingJob RandomJob(Random random, int number)
    {
        var (min, least) = (random.Next(1, 9), random.Next(1, 4));
        return new PendingJob(OpaqueId.Parse($"j{number}"), $"j{number}", number, random.Next(3), (DeviceKind)random.Next(3), min, random.Next(2) == 0 ? 0 : random.Next(min, 10))
        {
            Placement = (Placement)random.Next(3),
            MinPerWorker = least,
            MaxPerWorker = random.Next(2) == 0 ? 0 : random.Next(least, 6),
            MixesModels = random.Next(2) == 0,
        };
    }

    private static IReadOnlyList<SchedulingDecision> Decide(PendingJob[] jobs, WorkerCapacity[] workers) => Scheduler.Decide(TimeSpan.FromHours(1), jobs, workers);

    // Of a letter each: its model, in capitals where it is free; "?" is free and of no known model.
    private static WorkerCapacity[] Gpus(string models, Func<char, long>? memoryBytes = null) => [.. models.Split(' ').Select((gpus, i) => new WorkerCapacity($"w{i}", $"host{i}",
        [.. gpus.Select((m, s) => new WorkerSlot(s, DeviceKind.Cuda, !char.IsLower(m)) { Model = m == '?' ? "" : $"GPU {char.ToUpperInvariant(m)}", MemoryBytes = memoryBytes?.Invoke(char.ToUpperInvariant(m)) ?? 0 })])
    {
        Meeting = "build 1",
        CannotMeet = "was started without --network",
        Nccl = "2.27.5",
    })];

    private static WorkerCapacity[] Workers(string sizes, DeviceKind kind = DeviceKind.Cpu) => [.. sizes.Split(' ').Select((size, i) =>
    {
        var (free, total) = (int.Parse(size.Split('/')[0]), int.Parse(size.Split('/')[1]));
        return new WorkerCapacity($"w{i}", $"host{i}", [.. Enumerable.Range(0, total).Select(s => new WorkerSlot(s, kind, s < free))]) { Meeting = "build 1" };
    })];

    private static PendingJob Job(string id, long number, int min, int max) => new(OpaqueId.Parse(id), id, number, 0, DeviceKind.Any, min, max);

    private static string Outcome(SchedulingDecision decision) => decision.Shares.Count == 0 ? decision.Reason : string.Join(' ', decision.Shares.Select(s => $"{s.WorkerId}:{s.Slots.Count}"));

    // Its ranks by model.
    private static string Outcome(SchedulingDecision decision, WorkerCapacity[] workers) => decision.Shares.Count == 0 ? decision.Reason
        : string.Join(' ', decision.Shares.Select(s => $"{s.WorkerId}:{string.Concat(s.Slots.Select(i => workers.Single(w => w.Id == s.WorkerId).Slots[i].Model.DefaultIfEmpty('?').Last()))}"));
}

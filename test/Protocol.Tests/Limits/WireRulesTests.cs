using System.Buffers;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using MLDistributed.Protocol;

namespace Protocol.Tests.Limits;

[TestClass]
public sealed class WireRulesTests
{
    private static readonly string Hash = new('a', 64);

    public static IEnumerable<object?[]> Refused =>
    [
        [new SubmitJobRequest { RequestId = new string('x', 5_000_000) }, "SubmitJobRequest.request_id has 5,000,000 characters"],
        [new SubmitJobRequest { Spec = new JobSpec { Name = new string('x', 20_000_000) } }, "JobSpec.name has 20,000,000 characters"],
        [new SubmitJobRequest { Spec = new JobSpec { Task = (MlTask)99 } }, "JobSpec.task is 99, expected one of 0 (ML_TASK_UNSPECIFIED), 1 ("],
        [new JobSpec { Module = new ModuleSpec { Mlp = new MlpSpec { Activation = (Activation)77 } } }, "MlpSpec.activation is 77, expected one of 0 (ACTIVATION_RELU), 1 (ACTIVATION_GELU)"],
        [new JobSpec { Module = new ModuleSpec { Mlp = new MlpSpec { HiddenSizes = { Enumerable.Repeat(1, 1001) } } } }, "MlpSpec.hidden_sizes has 1,001 values, expected at most 1,000"],
        [new FindDatasetRequest { DatasetId = "../../etc/passwd" }, "FindDatasetRequest.dataset_id is \"../../etc/passwd\", expected 64 lower-case hexadecimal digits"],
        [new CheckpointSaved { AttemptId = "a", Artifact = new Artifact { Id = "../x" } }, "Artifact.id is \"../x\""],
        [new AttemptStarted { AttemptId = "a/b" }, "AttemptStarted.attempt_id is \"a/b\", expected 1 to 100 letters, digits, - or _"],
        [new GetJobRequest(), "GetJobRequest.job_id is \"\""],
        [new JobResult { Artifacts = { ["m"] = new Artifact { Id = "/etc/passwd" } } }, "Artifact.id is \"/etc/passwd\""],
        [new JobResult { Artifacts = { ["m"] = new Artifact { Id = Hash, SizeBytes = -1 } } }, "Artifact.size_bytes is -1, expected 0 to "],
        [new Hello { WorkerId = "w", Devices = { new Device { Slot = -1 } } }, "Device.slot is -1, expected 0 to 4095"],
        [new Hello { WorkerId = "w", RunningAttempts = { "ok", "no way" } }, "Hello.running_attempts is \"no way\""],
        [new Heartbeat { Devices = { Enumerable.Repeat(new Device(), 5000) } }, "Heartbeat.devices has 5,000 values"],
        [new JobSnapshot { Id = "a", Submitted = new Google.Protobuf.WellKnownTypes.Timestamp { Seconds = long.MaxValue } }, "Timestamp.seconds is 9223372036854775807"],
    ];

    [TestMethod]
    [DynamicData(nameof(Refused))]
    public void Refusal_Message_NamesFieldValueAndExpectation(IMessage message, string expected) =>
        StringAssert.StartsWith(WireRules.Refusal(message), expected);

    [TestMethod]
    public void Refusal_GoodMessages_IsNone()
    {
        Assert.IsNull(WireRules.Refusal(new JobSpec { Name = "n", Task = MlTask.Binary, Priority = -3, Checkpoint = new CheckpointSpec { KeepLast = -1 } }));
        Assert.IsNull(WireRules.Refusal(new AttemptEnded { AttemptId = "a", Failure = new JobFailure { Rank = -1, ExitCode = -1073741819, LastWords = { "x" } } }));
        Assert.IsNull(WireRules.Refusal(new Progress { Loss = double.NaN, Recent = { Enumerable.Repeat(new StepLoss(), 10_000) } }));
        Assert.IsNull(WireRules.Refusal(new Chunk { Data = ByteString.CopyFrom(new byte[1 << 20]) }));
        Assert.IsNull(WireRules.Refusal(new ListJobsRequest { Limit = -1 }));
    }

    [TestMethod]
    public void Clip_LongWords_AreWhatIsTaken()
    {
        var failure = new JobFailure { Message = new string('m', 1_000_000), LastWords = { "\ud83d" + new string('w', 100_000) } };
        var message = new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = "a", Failure = failure } };

        WireRules.Clip(message);

        Assert.IsNull(WireRules.Refusal(message));
        StringAssert.EndsWith(failure.Message, "m...");
        Assert.AreEqual(4096, failure.LastWords[0].Length);
    }

    [TestMethod]
    public void Limits_Named_AreOfFieldsThatExist()
    {
        var files = new[] { JobsReflection.Descriptor, JobspecReflection.Descriptor, BlobsReflection.Descriptor, WorkersReflection.Descriptor, RanksReflection.Descriptor, Google.Protobuf.WellKnownTypes.TimestampReflection.Descriptor };
        var fields = files.SelectMany(f => f.MessageTypes).SelectMany(Fields).ToHashSet(StringComparer.Ordinal);

        foreach (var name in WireLimits.Named.Where(n => !n.StartsWith("arrow.", StringComparison.Ordinal)))
            Assert.Contains(name, fields);
    }

    [TestMethod]
    public void Scan_MessagesThatTheRulesTake_AreTaken()
    {
        foreach (var message in new IMessage[]
        {
            new SubmitJobRequest { RequestId = "r", Spec = new JobSpec { Name = "ü", ClassWeights = { 1, 2 }, Module = new ModuleSpec { Mlp = new MlpSpec { HiddenSizes = { 300, 2 } } } } },
            new AttemptEnded { AttemptId = "a", Result = new JobResult { Artifacts = { ["m"] = new Artifact { Id = Hash } }, History = { Enumerable.Repeat(new EpochEnded { Epoch = 1, IsBest = true, Seconds = 2 }, 1000) } } },
            new Heartbeat { Devices = { new Device { Slot = 1, Utilization = 0.5, MemoryBytes = 1L << 40 } } },
        })
            Assert.IsNull(WireScan.Refusal(new ReadOnlySequence<byte>(message.ToByteArray()), message.Descriptor));
    }

    [TestMethod]
    public void Scan_BytesOfManyObjects_AreRefused()
    {
        Refused(new AttemptEnded { Result = new JobResult { History = { Enumerable.Repeat(new EpochEnded(), 1_000_001) } } }, "JobResult.history has more than 1,000,000 values");
        Refused(new Progress { Recent = { Enumerable.Repeat(new StepLoss(), 1_000_001) } }, "Progress.recent has more than 10,000 values");
        Refused(new SubmitJobRequest { Spec = new JobSpec { Name = new string('x', 20_000_000) } }, "JobSpec.name has 20,000,000 bytes, expected at most 4,096 characters");

        // Fields that nobody knows, a field that is there twice, text that is none, and a length that leads out.
        Assert.Contains("fields that this release does not know", Scan(JobSpec.Descriptor, [.. Enumerable.Repeat<byte[]>([0xF8, 0x7F, 1], 300).SelectMany(b => b)]));
        Assert.Contains("is there twice", Scan(SubmitJobRequest.Descriptor, [0x0A, 0, 0x0A, 0]));
        Assert.Contains("is no text", Scan(GetJobRequest.Descriptor, [0x0A, 1, 0xFF]));
        Assert.Contains("cannot be read", Scan(GetJobRequest.Descriptor, [0x0A, 9, 0x41]));
        Assert.Contains("cannot be read", Scan(GetJobRequest.Descriptor, [0x0B]));

        static void Refused(IMessage message, string expected) => Assert.Contains(expected, Scan(message.Descriptor, message.ToByteArray()));
        static string Scan(MessageDescriptor type, byte[] bytes) => WireScan.Refusal(new ReadOnlySequence<byte>(bytes), type) ?? "nothing";
    }

    [TestMethod]
    public void Scan_AnyBytes_NeverThrows()
    {
        var random = new Random(1);
        var good = new AttemptEnded { AttemptId = "a", Failure = new JobFailure { Message = "m", LastWords = { "a", "b" } } }.ToByteArray();
        for (var i = 0; i < 20_000; i++)
        {
            var bytes = i % 2 == 0 ? good.ToArray() : new byte[random.Next(40)];
            if (i % 2 == 1)
                random.NextBytes(bytes);
            else
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            if (WireScan.Refusal(new ReadOnlySequence<byte>(bytes), AttemptEnded.Descriptor) is null)
                AttemptEnded.Parser.ParseFrom(bytes); // what is taken can be parsed
        }
    }

    private static IEnumerable<string> Fields(MessageDescriptor type) =>
        type.Fields.InDeclarationOrder().Select(f => f.FullName).Concat(type.NestedTypes.SelectMany(Fields));
}

using System.Text.Json;
using Google.Protobuf.WellKnownTypes;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace Cli.Tests.Output;

/// <summary>A job for people, and for programs.</summary>
[TestClass]
public sealed class JobOutputTests
{
    private static readonly DateTimeOffset s_start = new(2026, 1, 2, 12, 0, 0, TimeSpan.Zero);

    [TestMethod]
    public void Sheet_OfASucceededJob_HasALineAFact()
    {
        using var output = new StringWriter();

        JobSheet.Write(Job(), output, s_start.AddMinutes(10));

        Assert.AreEqual(
            $"""
            Job         j1
            Name        evil\e[2J
            State       succeeded: trained
            Attempt     2
            Submitted   {s_start.ToLocalTime():HH:mm:ss} (10 min ago)
            Started     {s_start.AddSeconds(1).ToLocalTime():HH:mm:ss} (10 min ago)
            Ended       {s_start.AddSeconds(43).ToLocalTime():HH:mm:ss} (9 min ago), 42 s after it started
            Network     64-32-10, multiclass
            Data        1,437 rows of dataset d1
            Training    5 epochs, 32 rows a step, seed 7
            Trained     4 epochs, 180 steps in 2.5 s on 2 ranks
            Loss        0.125, validation 0.25 (best: epoch 3)
            File        model.onnx, 9.8 KiB

            """.ReplaceLineEndings(),
            output.ToString());
    }

    [TestMethod]
    public void Json_OfAJob_HasItsFieldsAndNothingThatATerminalObeys()
    {
        var text = Json.Document(JobView.Of(Job()));

        using var document = JsonDocument.Parse(text);
        var job = document.RootElement;
        Assert.IsTrue(text.All(c => c is '\n' or '\r' or (>= ' ' and <= '~')), text);
        Assert.AreEqual("evil\e[2J", job.GetProperty("name").GetString());
        Assert.AreEqual("succeeded", job.GetProperty("state").GetString());
        Assert.AreEqual("2026-01-02T12:00:00Z", job.GetProperty("submitted").GetString());
        Assert.AreEqual(3, job.GetProperty("result").GetProperty("bestEpoch").GetInt32());
        Assert.AreEqual(1, job.GetProperty("result").GetProperty("history")[0].GetProperty("epoch").GetInt32());
        Assert.AreEqual(JsonValueKind.Null, job.GetProperty("result").GetProperty("history")[0].GetProperty("trainingLoss").ValueKind, "JSON has no NaN.");
        Assert.AreEqual(JsonValueKind.Null, job.GetProperty("failure").ValueKind, "Fields are always there.");
        CollectionAssert.AreEqual(
            new[] { "id", "name", "state", "reason", "attempt", "maxAttempts", "submitted", "started", "ended", "task", "data", "progress", "result", "failure", "keptStep", "hosts" },
            job.EnumerateObject().Select(p => p.Name).ToArray(),
            "Scripts rely on the names.");
    }

    [TestMethod]
    public void Json_OfAnEmptyJob_IsWhole()
    {
        using var document = JsonDocument.Parse(Json.Line(JobView.Of(new JobSnapshot())));

        Assert.AreEqual(JsonValueKind.Null, document.RootElement.GetProperty("submitted").ValueKind);
    }

    private static JobSnapshot Job() => new()
    {
        Id = "j1",
        Name = "evil\e[2J",
        State = JobState.Succeeded,
        Reason = "trained",
        Attempt = 2,
        Submitted = s_start.ToTimestamp(),
        Started = s_start.AddSeconds(1).ToTimestamp(),
        Ended = s_start.AddSeconds(43).ToTimestamp(),
        Spec = new JobSpec
        {
            Task = MlTask.Multiclass,
            MaxAttempts = 3,
            Epochs = 5,
            GlobalBatchSize = 32,
            Seed = 7,
            Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = 64, HiddenSizes = { 32 }, OutputSize = 10 } },
            Data = new DataSpec { DatasetId = "d1", RowCount = 1437 },
        },
        Result = new JobResult
        {
            Epochs = 4,
            BestEpoch = 2,
            Steps = 180,
            WorldSize = 2,
            TrainingSeconds = 2.5,
            TrainingLoss = 0.125,
            ValidationLoss = 0.25,
            History = { new EpochEnded { Epoch = 0, TrainingLoss = double.NaN } },
            Artifacts = { ["model.onnx"] = new Artifact { Id = "a1", SizeBytes = 10_000 } },
        },
    };
}

using System.Security.Cryptography;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>Jobs that outlive the app that submitted them: attached to, resumed and fetched by others.</summary>
[TestClass]
public sealed class DetachedTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private static RealCluster _cluster = null!;

    public TestContext TestContext { get; set; } = null!;

    [ClassInitialize]
    public static async Task Start(TestContext _) => _cluster = await RealCluster.StartAsync(workers: 1);

    [ClassCleanup]
    public static async Task Stop() => await _cluster.DisposeAsync();

    [TestMethod, TestCategory("Slow")]
    public async Task App_ThatSubmitsAndIsGone_ItsModelIsFetchedByOthers()
    {
        string jobId;
        using (var app = _cluster.StartApp("submit", epochs: 30))
        {
            jobId = (await app.Line("^submitted ", Limit)).Split(' ')[1];
            app.Signal("KILL");
        }

        using var connection = _cluster.Connect();
        var heard = new List<TrainingProgress>();
        var model = await connection.AttachAsync(jobId, progress: new Listener(heard.Add), cancellation: TestContext.CancellationToken).WaitAsync(Limit, TestContext.CancellationToken);

        Assert.AreEqual((TrainingState.Succeeded, 30), (heard[^1].State, heard[^1].Epochs));
        Assert.AreEqual(jobId, heard[0].JobId);
        var folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        try
        {
            var (code, output, error) = await _cluster.RunAsync("models", "download", jobId[..12], "-o", folder);
            Assert.AreEqual((0, ""), (code, error), output);
            Assert.AreEqual(HashOf(model), Convert.ToHexString(SHA256.HashData(await File.ReadAllBytesAsync(Path.Combine(folder, ArtifactName.Onnx), TestContext.CancellationToken))));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Job_CancelledAndResumed_GivesTheSameModel()
    {
        using var connection = _cluster.Connect();
        var ml = new MLContext(1);
        var data = DataSets.Digits(ml);
        var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            Seed = 3,
            Epochs = 60,
            MinRanks = 2,
            CheckpointInterval = TimeSpan.FromMilliseconds(100),
        });
        var stored = _cluster.Blobs.Count;
        var cancelled = await connection.SubmitAsync(trainer, data, TestContext.CancellationToken);
        using (var stop = new CancellationTokenSource())
        {
            var wait = cancelled.WaitAsync(progress: new Listener(_ =>
            {
                if (_cluster.Blobs.Count > stored)
                    stop.Cancel();
            }), cancellation: stop.Token);
            await Assert.ThrowsAsync<OperationCanceledException>(() => wait.WaitAsync(Limit));
        }

        // Whoever stops waiting does not stop the job; this does.
        await cancelled.CancelAsync(cancellation: TestContext.CancellationToken);
        var ended = await Assert.ThrowsExactlyAsync<TrainingFailedException>(() => connection.AttachAsync(cancelled.Id));
        StringAssert.Matches(ended.Message, new($"Job {cancelled.Id} was cancelled: cancelled by its app\\. TrainingCluster\\.ResumeAsync\\(\"{cancelled.Id}\"\\), or `mldist jobs resume {cancelled.Id}`, goes on from step [1-9]", default, Limit));

        var (code, output, error) = await _cluster.RunAsync("jobs", "resume", cancelled.Id);
        Assert.AreEqual((0, ""), (code, error), output);
        var resumed = await connection.ResumeAsync(cancelled.Id, TestContext.CancellationToken);
        StringAssert.Contains(output, $"Job {resumed.Id} is ");
        var steps = new List<long>();
        var model = await resumed.WaitAsync(progress: new Listener(p => steps.AddRange(p.RecentLosses.Select(l => l.Step))), cancellation: TestContext.CancellationToken).WaitAsync(Limit, TestContext.CancellationToken);

        Assert.IsGreaterThan(1L, steps[0], "It began anew.");
        var whole = await (await connection.SubmitAsync(trainer, data, TestContext.CancellationToken)).WaitAsync(cancellation: TestContext.CancellationToken).WaitAsync(Limit, TestContext.CancellationToken);
        Assert.AreEqual(HashOf(whole), HashOf(model), "It is the same model, bit for bit.");
    }

    [TestMethod]
    public async Task Attach_WhatCannotBe_SaysWhy()
    {
        using var connection = _cluster.Connect();
        var ml = new MLContext(1);
        var rows = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 50).Select(i => new Row { Label = i, Features = [i] }));
        // A learning rate with which it cannot but diverge.
        var failing = await connection.SubmitAsync(
            ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LearningRate = 1e30, Optimizer = new SgdOptimizer(), Schedule = LearningRateSchedule.Constant }), rows, TestContext.CancellationToken);

        var failed = await Assert.ThrowsExactlyAsync<TrainingFailedException>(() => connection.AttachAsync(failing.Id).WaitAsync(Limit));
        StringAssert.Contains(failed.Message, "expected");
        var refused = await Assert.ThrowsExactlyAsync<ClusterException>(() => connection.ResumeAsync(failing.Id));
        StringAssert.Contains(refused.Message, "has no checkpoint to go on from");
        foreach (var call in (Func<string, Task>[])[id => connection.AttachAsync(id), id => connection.ResumeAsync(id)])
        {
            var unknown = await Assert.ThrowsExactlyAsync<ClusterException>(() => call(new string('0', 32)));
            StringAssert.Contains(unknown.Message, $"Job \"{new string('0', 32)}\" is unknown, expected the id of a job that this key's tenant submitted");
            await Assert.ThrowsAsync<ArgumentException>(() => call(" "));
        }

        var (code, _, error) = await _cluster.RunAsync("jobs", "resume", failing.Id);
        Assert.AreNotEqual(0, code);
        StringAssert.Contains(error, "has no checkpoint to go on from");
    }

    private static string HashOf(ITransformer transformer)
    {
        using var onnx = new MemoryStream();
        switch (transformer)
        {
            case ISingleFeaturePredictionTransformer<NeuralNetworkMulticlassModel> multiclass:
                multiclass.Model.SaveOnnx(onnx);
                break;
            case ISingleFeaturePredictionTransformer<NeuralNetworkBinaryModel> binary:
                binary.Model.SaveOnnx(onnx);
                break;
            case ISingleFeaturePredictionTransformer<NeuralNetworkRegressionModel> regression:
                regression.Model.SaveOnnx(onnx);
                break;
        }

        return Convert.ToHexString(SHA256.HashData(onnx.ToArray()));
    }

    private sealed class Row
    {
        public float Label { get; set; }

        [VectorType(1)]
        public float[] Features { get; set; } = [];
    }
}

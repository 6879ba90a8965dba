using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;

namespace Cluster.Tests;

/// <summary>The samples do what their READMEs say. Digits is run by <see cref="RemoteClusterTests"/>.</summary>
[TestClass]
public sealed class SampleTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);
    private readonly string _folder = Directory.CreateTempSubdirectory("mltest-").FullName;

    public TestContext TestContext { get; set; } = null!;

    [TestCleanup]
    public async Task Clean()
    {
        await ProcessTree.Until(() => ProcessTree.Naming(_folder).Count == 0, TimeSpan.FromSeconds(10));
        Directory.Delete(_folder, recursive: true);
    }

    [TestMethod]
    public async Task LossPlot_Run_LeavesAPicture()
    {
        using var sample = RunningProgram.Start("LossPlot", _folder, "LossPlot");

        Assert.AreEqual(0, await sample.Exit(Limit), sample.Output);

        var picture = await File.ReadAllBytesAsync(Path.Combine(_folder, "loss.png"), TestContext.CancellationToken);
        Assert.AreEqual("PNG", Encoding.ASCII.GetString(picture, 1, 3));
        Assert.IsGreaterThan(20_000, picture.Length, "An empty plot is smaller.");
    }

    [TestMethod]
    public async Task RemoteCluster_Run_TrainsOnItsClusterAndLeavesNothing()
    {
        using var sample = RunningProgram.Start("RemoteCluster", _folder, "RemoteCluster");

        Assert.AreEqual(0, await sample.Exit(Limit), sample.Output);

        StringAssert.Contains(sample.Output, " is ready with 2 devices");
        StringAssert.Contains(sample.Output, "micro accuracy 0.9");
        Assert.IsEmpty(ProcessTree.Naming(_folder), "Coordinator and worker are stopped.");
        Assert.IsEmpty(Directory.EnumerateDirectories(_folder, "remote-cluster-*"));
    }

    [TestMethod]
    public async Task WebApi_InTheMiddleOfATraining_AnswersAndStopsCleanly()
    {
        using var api = RunningProgram.Start("WebApi", _folder, "WebApi", "--urls", "http://127.0.0.1:0");
        using var client = new HttpClient { BaseAddress = new Uri((await api.Line("Now listening on: ", Limit)).Split("on: ")[^1]) };
        var image = new { pixels = (await File.ReadAllLinesAsync(Path.Combine(AppContext.BaseDirectory, "data", "digits.csv"), TestContext.CancellationToken))[0].Split(',')[..64].Select(float.Parse).ToArray() };
        await TrainingUntilAsync(client, training => training.GetProperty("accuracy").ValueKind == JsonValueKind.Number && training.GetProperty("accuracy").GetDouble() > 0.9);

        // Long enough to be stopped in its middle.
        await ProcessTree.Until(() => client.PostAsync(new Uri("/train?epochs=10000", UriKind.Relative), null).GetAwaiter().GetResult().StatusCode == HttpStatusCode.Accepted, Limit);
        await TrainingUntilAsync(client, training => training.GetProperty("state").GetString() == "running" && training.GetProperty("epoch").GetInt32() > 1);
        Assert.AreEqual(HttpStatusCode.Conflict, (await client.PostAsync(new Uri("/train", UriKind.Relative), null, TestContext.CancellationToken)).StatusCode);
        Assert.AreEqual(HttpStatusCode.BadRequest, (await client.PostAsJsonAsync(new Uri("/predict", UriKind.Relative), new { pixels = new[] { 1 } }, TestContext.CancellationToken)).StatusCode);
        var answers = await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => PredictAsync(client, image)));
        api.Signal("TERM");

        Assert.AreEqual(0, await api.Exit(TimeSpan.FromSeconds(20)), api.Output);
        CollectionAssert.AreEqual(Enumerable.Repeat(answers[0], 50).ToArray(), answers, "Each answer is its own request's.");
        Assert.IsFalse(api.Output.Contains("fail:", StringComparison.Ordinal), api.Output);
        Assert.IsTrue(await ProcessTree.Until(() => ProcessTree.Naming(_folder).Count == 0, TimeSpan.FromSeconds(10)), "The local cluster left with it.");
    }

    private async Task<string> PredictAsync(HttpClient client, object image)
    {
        using var answer = await client.PostAsJsonAsync(new Uri("/predict", UriKind.Relative), image, TestContext.CancellationToken);
        Assert.AreEqual(HttpStatusCode.OK, answer.StatusCode);
        return await answer.Content.ReadAsStringAsync(TestContext.CancellationToken);
    }

    private async Task TrainingUntilAsync(HttpClient client, Func<JsonElement, bool> holds)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.CancellationToken);
        limit.CancelAfter(Limit);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100));
        while (!holds(await client.GetFromJsonAsync<JsonElement>(new Uri("/training", UriKind.Relative), limit.Token)))
            await timer.WaitForNextTickAsync(limit.Token);
    }
}

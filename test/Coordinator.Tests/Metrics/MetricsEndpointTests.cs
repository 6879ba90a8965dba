using System.Net;
using System.Net.Http.Headers;

namespace MLDistributed.Coordinator.Tests.Metrics;

[TestClass]
public sealed class MetricsEndpointTests
{
    private static readonly string[] s_loopback = ["http://127.0.0.1:0"];

    [TestMethod]
    public async Task Get_WithAKeyForIt_ShowsJobsSlotsAndWhatIsWanted()
    {
        await using var coordinator = await TestCoordinator.StartAsync(s_loopback);
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "prometheus", "ops", Scopes.Metrics);
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator, slots: 2);
        await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Resources.MaxRanks = 1));
        await worker.ExpectStartAsync();
        await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.Resources.MinRanks, s.Resources.MaxRanks) = (2, 5)));

        var (status, text) = await GetAsync(coordinator, key);

        Assert.AreEqual(HttpStatusCode.OK, status, text);
        AssertHas(text, "mldist_jobs", ["state=\"queued\""], 1);
        AssertHas(text, "mldist_jobs", ["state=\"recovering\""], 0);
        AssertHas(text, "mldist_workers", [], 1);
        AssertHas(text, "mldist_slots", ["device=\"cpu\"", "state=\"free\""], 1);
        AssertHas(text, "mldist_slots", ["device=\"cpu\"", "state=\"busy\""], 1);
        AssertHas(text, "mldist_slots_wanted", ["device=\"cpu\""], 1);
        AssertHas(text, "mldist_slots_wanted", ["device=\"any\""], 5);
    }

    [TestMethod]
    [DataRow(null, HttpStatusCode.Unauthorized)]
    [DataRow(Scopes.Read | Scopes.Submit, HttpStatusCode.Forbidden)]
    [DataRow(Scopes.Admin, HttpStatusCode.OK)]
    public async Task Get_ByKeys_IsForThoseWithItsScopeAndAdministrators(Scopes? scopes, HttpStatusCode expected)
    {
        await using var coordinator = await TestCoordinator.StartAsync(s_loopback);
        var key = scopes is { } own ? CoordinatorAdministration.CreateKey(coordinator.DataFolder, "key", "team", own) : null;

        Assert.AreEqual(expected, (await GetAsync(coordinator, key)).Status);
    }

    [TestMethod]
    public async Task Key_ForMetrics_OpensNothingElse()
    {
        await using var coordinator = await TestCoordinator.StartAsync(s_loopback);
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "prometheus", "ops", Scopes.Metrics);

        await new Protocol.Jobs.JobsClient(coordinator.ConnectByKey(key).Invoker).GetClusterAsync(new GetClusterRequest()).Fails(StatusCode.PermissionDenied);
    }

    private static async Task<(HttpStatusCode Status, string Text)> GetAsync(TestCoordinator coordinator, string? key)
    {
        using var http = new HttpClient { DefaultRequestVersion = HttpVersion.Version20, DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact };
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(coordinator.Address, "/metrics")) { Version = HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
        if (key is not null)
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", key);
        using var response = await http.SendAsync(request).Within();
        return (response.StatusCode, await response.Content.ReadAsStringAsync().Within());
    }

    private static void AssertHas(string text, string name, string[] labels, int value) => Assert.IsTrue(
        text.Split('\n').Any(l => !l.StartsWith('#') && l.Split('{', ' ')[0] == name && labels.All(label => l.Contains(label, StringComparison.Ordinal)) && l.Split(' ').Contains($"{value}")),
        $"no {name} {{{string.Join(',', labels)}}} {value} in\n{text}");
}

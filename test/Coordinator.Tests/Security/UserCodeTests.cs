using System.Security.Cryptography;
using Google.Protobuf;

namespace MLDistributed.Coordinator.Tests.Security;

/// <summary>Code that a job brings: taken where it is allowed, and its sender's alone.</summary>
[TestClass]
public sealed class UserCodeTests
{
    private static readonly byte[] s_code = [1, 2, 3];
    private static readonly string s_id = Convert.ToHexStringLower(SHA256.HashData(s_code));

    [TestMethod]
    public async Task Code_OfATenant_IsNoOtherTenants()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        await Specs.AddDatasetAsync(coordinator);
        var (mine, theirs) = (Key(coordinator, "a"), Key(coordinator, "b"));

        await Specs.SubmitAsync(coordinator, Spec()).Fails(StatusCode.FailedPrecondition);
        var artifact = await UploadAsync(mine, s_code);
        Assert.AreEqual(new Artifact { Id = s_id, SizeBytes = 3 }, artifact);

        var refused = await new Protocol.Jobs.JobsClient(theirs).SubmitJobAsync(new SubmitJobRequest { Spec = Spec() }).Fails(StatusCode.FailedPrecondition);
        StringAssert.Contains(refused.Status.Detail, $"Code package \"{s_id}\" is not in the store");
        using var download = new Protocol.Blobs.BlobsClient(theirs).Download(new DownloadRequest { Id = s_id });
        await download.ResponseStream.MoveNext(CancellationToken.None).Fails(StatusCode.NotFound);
        await Specs.SubmitAsync(coordinator, Spec());
    }

    [TestMethod]
    public async Task Code_WhereItIsDenied_IsRefusedWithItsJob()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        await UploadAsync(coordinator.Connect().Invoker, s_code);
        await coordinator.StopServerAsync();
        coordinator.AllowsUserCode = false;
        await coordinator.StartServerAsync();

        StringAssert.Contains((await Specs.SubmitAsync(coordinator, Spec()).Fails(StatusCode.PermissionDenied)).Status.Detail, "this coordinator denies user code. Ask its administrator to start it with \"--user-code allow\"");
        await Specs.SubmitAsync(coordinator);
    }

    private static JobSpec Spec() => Specs.Valid(change: s => s.Module = new ModuleSpec { Torch = new TorchModuleSpec { InputSize = 4, OutputSize = 1, PackageId = s_id, Assembly = "Modules", Type = "Modules.Net" } });

    private static CallInvoker Key(TestCoordinator coordinator, string tenant) =>
        coordinator.ConnectByKey(CoordinatorAdministration.CreateKey(coordinator.DataFolder, tenant, tenant, Scopes.Submit)).Invoker;

    private static async Task<Artifact> UploadAsync(CallInvoker caller, byte[] code)
    {
        using var call = new Protocol.Blobs.BlobsClient(caller).Upload();
        await call.RequestStream.WriteAsync(new Chunk { Id = s_id, TotalBytes = code.Length, Data = ByteString.CopyFrom(code) });
        await call.RequestStream.CompleteAsync();
        return (await call.ResponseAsync.Within()).Artifact;
    }
}

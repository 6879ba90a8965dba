using System.IO.Pipelines;
using MLDistributed.Coordinator.Calls;

namespace MLDistributed.Coordinator.Tests.Calls;

/// <summary>Kestrel gives the pipe of a call's body to the next call of the connection.</summary>
[TestClass]
public sealed class BoundedBodyTests
{
    private const string Connect = "/mldist.v1.Workers/Connect";
    private static readonly byte[] s_empty = [0, 0, 0, 0, 0]; // a message of no bytes

    [TestMethod]
    public async Task Read_ThatWaitsWhenItsCallEnds_HasEnded()
    {
        var pipe = new Pipe();
        var body = Body(pipe);
        var left = body.ReadAsync().AsTask();

        await body.EndAsync().Within();
        await pipe.Reader.CompleteAsync();
        await pipe.Writer.CompleteAsync();
        pipe.Reset();

        Assert.IsTrue((await left.Within()).IsCanceled);
        body.AdvanceTo(default);
        await AssertIsReadableAsync(pipe);
    }

    [TestMethod]
    public async Task Read_BehindTheEndOfItsCall_IsRefused()
    {
        var pipe = new Pipe();
        var body = Body(pipe);
        await body.EndAsync().Within();

        var error = await Assert.ThrowsExactlyAsync<RpcException>(() => body.ReadAsync().AsTask());

        Assert.AreEqual(StatusCode.Cancelled, error.StatusCode);
        await AssertIsReadableAsync(pipe);
    }

    private static async Task AssertIsReadableAsync(Pipe pipe)
    {
        await pipe.Writer.WriteAsync(s_empty);
        var next = Body(pipe);
        var read = await next.ReadAsync().AsTask().Within();
        Assert.AreEqual(s_empty.Length, read.Buffer.Length);
        next.AdvanceTo(read.Buffer.End);
    }

    private static BoundedBody Body(Pipe pipe) =>
        new(pipe.Reader, Connect, RpcMethods.All[Connect], reserve: null, e => new RpcException(new Status(StatusCode.Internal, e.Message)), TimeProvider.System);
}

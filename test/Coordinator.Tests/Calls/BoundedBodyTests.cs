using System.IO.Pipelines;
using MLDistributed.Coordinator.Calls;

namespace MLDistributed.Coordinator.Tests.Calls;

/// <summary>Kestrel gives the pipe of a call's body to the next call of the connection.</summary>
[TestClass]
public sealed class BoundedBodyTests
{
    private const string Connect = "/mldist.v1.Workers/Connect";
    private const string GetJob = "/mldist.v1.Jobs/GetJob";
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

    // A timer's exception would end the process.
    [TestMethod]
    public async Task Message_ThatIsLateOfACallerWhoLeft_EndsQuietly()
    {
        var time = new ManualTimeProvider();
        var left = new LeftReader();
        var body = Body(left, time);
        var waiting = body.ReadAsync().AsTask();

        time.Advance(TimeSpan.FromSeconds(11));
        left.Fail();

        await body.EndAsync().Within();
        var error = await Assert.ThrowsExactlyAsync<RpcException>(() => waiting.Within());
        Assert.AreEqual("The client reset the request stream.", error.Status.Detail);
    }

    // Which gRPC would call Unknown, and its caller take for another release.
    [TestMethod]
    public async Task Read_OfTheOneMessage_ThatIsCancelled_MayBeTriedAgain()
    {
        var left = new LeftReader();
        var waiting = Body(left, TimeProvider.System, GetJob).ReadAsync().AsTask();

        left.Fail(new OperationCanceledException());

        var error = await Assert.ThrowsExactlyAsync<RpcException>(() => waiting.Within());
        Assert.AreEqual(StatusCode.Unavailable, error.StatusCode);
    }

    private static async Task AssertIsReadableAsync(Pipe pipe)
    {
        await pipe.Writer.WriteAsync(s_empty);
        var next = Body(pipe);
        var read = await next.ReadAsync().AsTask().Within();
        Assert.AreEqual(s_empty.Length, read.Buffer.Length);
        next.AdvanceTo(read.Buffer.End);
    }

    private static BoundedBody Body(Pipe pipe) => Body(pipe.Reader, TimeProvider.System);

    private static BoundedBody Body(PipeReader reader, TimeProvider time, string path = Connect) =>
        new(reader, path, RpcMethods.All[path], reserve: null, e => new RpcException(new Status(StatusCode.Internal, e.Message)), time);

    // As Kestrel's when the stream was reset.
    private sealed class LeftReader : PipeReader
    {
        private readonly TaskCompletionSource<ReadResult> _read = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void Fail(Exception? error = null) => _read.SetException(error ?? new IOException("The client reset the request stream."));

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) => new(_read.Task);

        public override void CancelPendingRead() => throw new IOException("The client reset the request stream.");

        public override bool TryRead(out ReadResult result) => throw new NotSupportedException();

        public override void AdvanceTo(SequencePosition consumed) => throw new NotSupportedException();

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined) => throw new NotSupportedException();

        public override void Complete(Exception? exception = null)
        {
        }
    }
}

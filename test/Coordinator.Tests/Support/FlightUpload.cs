using System.Globalization;
using Apache.Arrow;
using Apache.Arrow.Flight;
using Apache.Arrow.Flight.Client;

namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>A client's Flight upload of a test's data.</summary>
internal sealed class FlightUpload : IDisposable
{
    private readonly FlightRecordBatchDuplexStreamingCall _call;

    public FlightUpload(CallInvoker invoker, string datasetId, long firstBatch, long rows)
    {
        var headers = new Metadata
        {
            { "mldist-first-batch", firstBatch.ToString(CultureInfo.InvariantCulture) },
            { "mldist-rows", rows.ToString(CultureInfo.InvariantCulture) },
        };
        _call = new FlightClient(invoker).StartPut(FlightDescriptor.CreatePathDescriptor(datasetId), headers);
    }

    /// <summary>Sends the schema, for a stream that may have no batch.</summary>
    public Task BeginAsync(Schema schema) => Bounded.WrittenOrAnswered(_call.RequestStream.SetupStream(schema));

    public Task WriteAsync(RecordBatch batch) => Bounded.WrittenOrAnswered(_call.RequestStream.WriteAsync(batch));

    public async Task CompleteAsync()
    {
        await Bounded.WrittenOrAnswered(_call.RequestStream.CompleteAsync());
        while (await _call.ResponseStream.MoveNext(CancellationToken.None).Within())
        {
            // One empty result when the dataset is complete.
        }
    }

    /// <summary>How the coordinator ended the call.</summary>
    public Task<RpcException> RefusedAsync(StatusCode code) => _call.ResponseStream.MoveNext(CancellationToken.None).Fails(code);

    /// <summary>Breaks the connection without a word.</summary>
    public void Dispose() => _call.Dispose();
}

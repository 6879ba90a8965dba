using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A training set as an Arrow IPC file (<see cref="DatasetSchema"/>), ready to be sent to or adopted by a cluster.</summary>
/// <param name="Id">The content's hash (<see cref="DatasetHasher"/>).</param>
/// <param name="Path">The file; gone once a local cluster has adopted it.</param>
/// <param name="RowCount">Rows in the file.</param>
/// <param name="Shape">The width of a row.</param>
/// <param name="NonZeroCount">Of sparse rows: how many features they name together.</param>
internal sealed record EncodedDataset(ContentHash Id, string Path, long RowCount, DatasetShape Shape, long NonZeroCount = 0);

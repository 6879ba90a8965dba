using System.Security.Cryptography;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A file that a job needs besides its data, named by its content.</summary>
/// <param name="Content">The bytes.</param>
internal sealed record JobFile(ReadOnlyMemory<byte> Content)
{
    /// <summary>Their SHA-256.</summary>
    public ContentHash Id { get; } = ContentHash.OfDigest(SHA256.HashData(Content.Span));

    /// <summary>What a job says of it where training starts from its weights.</summary>
    public PretrainedWeights AsWeights() => new() { FileId = Id.Text, SizeBytes = Content.Length };
}

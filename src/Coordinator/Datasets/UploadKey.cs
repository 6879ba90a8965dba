using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>Which dataset of which tenant is being sent. No tenant's name is part of a path: what its hash begins with is.</summary>
internal sealed record UploadKey
{
    public const string Suffix = ".partial";
    private const int TenantDigits = 16;

    private UploadKey(ContentHash datasetId, string tenant) => (DatasetId, TenantHash) = (datasetId, tenant);

    public ContentHash DatasetId { get; }

    /// <summary>Its folder among the datasets.</summary>
    public string FolderName => $"{DatasetId}-{TenantHash}{Suffix}";

    private string TenantHash { get; }

    public static UploadKey Of(ContentHash datasetId, string tenant) => new(datasetId, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(tenant)))[..TenantDigits]);

    /// <summary>The key of a folder that was found.</summary>
    public static bool TryParse(string folderName, [NotNullWhen(true)] out UploadKey? key)
    {
        key = folderName.EndsWith(Suffix, StringComparison.Ordinal) && folderName[..^Suffix.Length].Split('-') is [var dataset, { Length: TenantDigits } tenant]
            && ContentHash.TryParse(dataset, out var id) && tenant.All(char.IsAsciiHexDigitLower) ? new UploadKey(id, tenant) : null;
        return key is not null;
    }
}

namespace MLDistributed.Tests.Shared;

/// <summary>ML.NET's ResNet-18 as ONNX, 63 MB, as the package Microsoft.ML.DnnImageFeaturizer.ResNet18 carries it.</summary>
internal static class ImageFeaturizer
{
    private static readonly Lazy<(string? Folder, string? Reason)> s_package = new(() => RestoredPackage.Find("Microsoft.ML.DnnImageFeaturizer.ResNet18", "0.23.1"));

    /// <summary>Why it is not there; null: it is.</summary>
    public static string? Missing => s_package.Value.Reason;

    /// <summary>The file.</summary>
    public static string Path => System.IO.Path.Combine(s_package.Value.Folder!, "tools", "DnnImageModels", "ResNet18Onnx", "ResNet18.onnx");
}

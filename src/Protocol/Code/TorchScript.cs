using System.Globalization;
using System.IO.Compression;

namespace MLDistributed.Protocol;

/// <summary>A TorchScript module of Python's and the ONNX file of the same module, as they travel: in the place of a module's assemblies.</summary>
public static class TorchScript
{
    /// <summary>The module's file in the package.</summary>
    public const string File = "module.pt";

    /// <summary>Its ONNX file.</summary>
    public const string Onnx = "module.onnx";

    // What libtorch 2.10 reads. Versions count changes of the file's format, of which there has been none in years.
    private const int NewestVersion = 10;

    /// <summary>Makes the package of both.</summary>
    /// <param name="script">The TorchScript file's bytes.</param>
    /// <param name="onnx">The ONNX file's.</param>
    /// <exception cref="ArgumentException">They are too large.</exception>
    public static byte[] Pack(byte[] script, byte[] onnx)
    {
        ArgumentNullException.ThrowIfNull(script);
        ArgumentNullException.ThrowIfNull(onnx);
        try
        {
            return CodePackage.Write([new(File, script), new(Onnx, onnx)]);
        }
        catch (ArgumentException e)
        {
            throw new ArgumentException($"The TorchScript file is {script.Length:N0} bytes and its ONNX file {onnx.Length:N0}, expected at most {CodePackage.MaxBytes:N0} packed, both together: each has all parameters. Write a module of so many parameters in C#, whose weights travel by themselves (DistributedTorchModule).", e);
        }
    }

    /// <summary>Looks whether bytes are a TorchScript file, before libtorch reads them.</summary>
    /// <param name="script">The bytes, of which nothing is believed.</param>
    /// <param name="name">What the file is called.</param>
    /// <exception cref="FormatException">They are another; says which, where it shows.</exception>
    public static void Check(byte[] script, string name)
    {
        ArgumentNullException.ThrowIfNull(script);
        try
        {
            using var zip = new ZipArchive(new MemoryStream(script), ZipArchiveMode.Read);
            if (!zip.Entries.Any(e => e.FullName.Contains("/code/", StringComparison.Ordinal)))
                throw Refusal(name, zip.Entries.Any(e => e.FullName.EndsWith("/data.pkl", StringComparison.Ordinal)) ? "has tensors and no code, as torch.save makes it" : "has no code");
            if (zip.Entries.FirstOrDefault(e => e.FullName.EndsWith("/version", StringComparison.Ordinal)) is { } version && NumberIn(version) is var number && number > NewestVersion)
                throw Refusal(name, $"is of version {number}, made by a newer PyTorch", $", of version {NewestVersion} at most");
        }
        catch (InvalidDataException e)
        {
            throw Refusal(name, $"of {script.Length:N0} bytes is no zip archive, or not all of one", inner: e);
        }
    }

    private static int NumberIn(ZipArchiveEntry entry)
    {
        using var reader = new StreamReader(entry.Open());
        Span<char> text = stackalloc char[9];
        return int.TryParse(text[..reader.ReadBlock(text)], NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out var number) ? number : 0;
    }

    private static FormatException Refusal(string name, string what, string which = "", Exception? inner = null) =>
        new($"TorchScript file \"{VisibleText.Shortened(name)}\" {what}, expected a module that torch.jit.script(module).save(...), or torch.jit.trace, has written{which}.", inner);
}

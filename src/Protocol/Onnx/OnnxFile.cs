using System.Runtime.InteropServices;
using Google.Protobuf;
using MLDistributed.Protocol.Weights;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Parses ONNX files that others made, of which weights are taken: nothing of such a file is run.</summary>
public static class OnnxFile
{
    // Empty messages grow a hundredfold when they are parsed.
    private const long MaxBytesBesides = 16 << 20;

    /// <summary>The model, as far as our part of the format knows it.</summary>
    /// <param name="stream">The file, from where it stands; one that can be sought in.</param>
    /// <exception cref="FormatException">It is no ONNX file, or one that is mostly not numbers.</exception>
    public static ModelProto Read(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        var size = stream.Length - stream.Position;
        if (size > TensorFile.MaxBytes)
            throw new FormatException($"The ONNX file has {size:N0} bytes, expected at most {TensorFile.MaxBytes:N0}.");
        var bytes = new byte[size];
        stream.ReadExactly(bytes);
        return Parse(bytes);
    }

    /// <summary>The numbers of a tensor.</summary>
    /// <exception cref="FormatException">They are not those of its shape, or not finite; names it.</exception>
    public static NamedTensor Floats(TensorProto tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        var values = tensor.FloatData.Count > 0 ? [.. tensor.FloatData] : MemoryMarshal.Cast<byte, float>(tensor.RawData.Span).ToArray();
        if (tensor.Dims.Any(d => d < 0) || tensor.Dims.Aggregate((Int128)1, (a, b) => a > int.MaxValue ? a : a * b) != values.Length)
            throw new FormatException($"Tensor \"{VisibleText.Shortened(tensor.Name)}\" of the ONNX file has {values.Length:N0} numbers for [{string.Join(", ", tensor.Dims.Take(8))}], expected all of them in the file itself.");
        var wrong = values.AsSpan().IndexOfAnyExceptInRange(float.MinValue, float.MaxValue);
        return wrong < 0 || tensor.Dims.Count == 0 ? new NamedTensor(tensor.Name, [.. tensor.Dims], values)
            : throw new FormatException($"Tensor \"{VisibleText.Shortened(tensor.Name)}\" of the ONNX file holds {values[wrong]} at {wrong:N0}, expected finite numbers.");
    }

    /// <summary>The model, as far as our part of the format knows it; it has a graph.</summary>
    /// <param name="onnx">The file's bytes, of which nothing is believed.</param>
    /// <exception cref="FormatException">It is no ONNX file, or one that is mostly not numbers.</exception>
    public static ModelProto Parse(byte[] onnx)
    {
        ArgumentNullException.ThrowIfNull(onnx);
        try
        {
            if (OnnxWire.BytesBesidesTensors(onnx) is var besides && besides > MaxBytesBesides)
                throw new FormatException($"The ONNX file has {besides:N0} bytes besides its tensors' numbers, expected at most {MaxBytesBesides:N0}.");
            var model = ModelProto.Parser.WithDiscardUnknownFields(true).ParseFrom(onnx);
            return model.Graph is not null ? model : throw new FormatException("The ONNX file has no graph.");
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new FormatException($"The {onnx.Length:N0} bytes cannot be read ({e.Message}), expected a complete ONNX file.", e);
        }
    }
}

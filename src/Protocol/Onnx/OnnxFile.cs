using Google.Protobuf;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Parses ONNX files that others made, of which weights are taken: nothing of such a file is run.</summary>
public static class OnnxFile
{
    // Empty messages grow a hundredfold when they are parsed.
    private const long MaxBytesBesides = 16 << 20;

    /// <summary>The graph, as far as our part of the format knows it.</summary>
    /// <param name="onnx">The file's bytes, of which nothing is believed.</param>
    /// <exception cref="FormatException">It is no ONNX file, or one that is mostly not numbers.</exception>
    public static GraphProto Parse(byte[] onnx)
    {
        ArgumentNullException.ThrowIfNull(onnx);
        try
        {
            if (OnnxWire.BytesBesidesTensors(onnx) is var besides && besides > MaxBytesBesides)
                throw new FormatException($"The ONNX file has {besides:N0} bytes besides its tensors' numbers, expected at most {MaxBytesBesides:N0}.");
            return ModelProto.Parser.WithDiscardUnknownFields(true).ParseFrom(onnx).Graph ?? throw new FormatException("The ONNX file has no graph.");
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new FormatException($"The {onnx.Length:N0} bytes cannot be read ({e.Message}), expected a complete ONNX file.", e);
        }
    }
}

namespace MLDistributed.Protocol.Onnx;

/// <summary>Looks at a model's bytes before they are parsed, and allocates nothing.</summary>
internal static class OnnxWire
{
    private const int Graph = ModelProto.GraphFieldNumber;
    private const int Initializer = GraphProto.InitializerFieldNumber;
    private const int RawData = TensorProto.RawDataFieldNumber;
    private const int FloatData = TensorProto.FloatDataFieldNumber;

    /// <summary>The bytes that are not numbers of tensors: what a parser makes objects of.</summary>
    /// <exception cref="FormatException">These are no fields.</exception>
    public static long BytesBesidesTensors(ReadOnlySpan<byte> model)
    {
        long besides = model.Length;
        while (Next(ref model, out var field, out var graph))
        {
            while (field == Graph && Next(ref graph, out var part, out var tensor))
            {
                while (part == Initializer && Next(ref tensor, out var piece, out var data))
                    besides -= piece is RawData or FloatData ? data.Length : 0; // a list that is not packed has no length
            }
        }

        return besides;
    }

    /// <summary>Takes a field off the front; its content, when it has one with a length.</summary>
    private static bool Next(ref ReadOnlySpan<byte> rest, out int field, out ReadOnlySpan<byte> content)
    {
        field = 0;
        content = default;
        if (rest.IsEmpty)
            return false;
        var tag = Varint(ref rest);
        field = (int)(tag >> 3);
        switch (tag & 7)
        {
            case 0:
                Varint(ref rest);
                return true;
            case 1:
                Take(ref rest, sizeof(double));
                return true;
            case 2:
                content = Take(ref rest, Varint(ref rest));
                return true;
            case 5:
                Take(ref rest, sizeof(float));
                return true;
            default:
                throw Damaged();
        }
    }

    private static ReadOnlySpan<byte> Take(ref ReadOnlySpan<byte> rest, ulong length)
    {
        if (length > (ulong)rest.Length)
            throw Damaged();
        var taken = rest[..(int)length];
        rest = rest[(int)length..];
        return taken;
    }

    private static ulong Varint(ref ReadOnlySpan<byte> rest)
    {
        ulong value = 0;
        for (var i = 0; i < 10 && i < rest.Length; i++)
        {
            value |= (ulong)(rest[i] & 0x7F) << (7 * i);
            if ((rest[i] & 0x80) == 0)
            {
                rest = rest[(i + 1)..];
                return value;
            }
        }

        throw Damaged();
    }

    private static FormatException Damaged() => new("The bytes of the model cannot be read (they are cut off or damaged), expected a complete ONNX file. Save or train the model again.");
}

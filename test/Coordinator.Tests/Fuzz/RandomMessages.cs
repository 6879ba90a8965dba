using System.Buffers.Binary;
using System.Collections;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace MLDistributed.Coordinator.Tests.Fuzz;

/// <summary>Messages of any type with anything in them, and bytes that are nearly some; a function of the seed.</summary>
internal sealed class RandomMessages(Random random, IReadOnlyList<string> ids)
{
    private const int MaxDepth = 4;
    private const int MaxBytes = 8 << 20; // of a body, about: many of many are more than this process has
    private static readonly long[] Edges = [0, 1, -1, 2, 64, 1000, int.MaxValue, int.MinValue, long.MaxValue, long.MinValue, uint.MaxValue, 1_400_000_000];
    private static readonly double[] RealEdges = [0, 1, -1, double.NaN, double.PositiveInfinity, double.Epsilon, double.MaxValue, 0.5];

    private int _left;

    /// <summary>A body of a call: frames of messages, whole or not.</summary>
    /// <param name="type">Of the messages.</param>
    /// <param name="isStream">Whether more than one may come.</param>
    public byte[] Body(MessageDescriptor type, bool isStream)
    {
        using var body = new MemoryStream();
        _left = MaxBytes;
        for (var left = isStream ? random.Next(5) : random.Next(20) == 0 ? 2 : 1; left > 0; left--)
        {
            var message = Mutated(Message(type, 0).ToByteArray());
            body.Write(Prefix(message.Length));
            body.Write(message);
        }

        var bytes = body.ToArray();
        return random.Next(12) == 0 ? bytes[..random.Next(bytes.Length + 1)] : bytes;
    }

    private byte[] Prefix(int length)
    {
        var prefix = new byte[5];
        prefix[0] = (byte)(random.Next(40) == 0 ? random.Next(256) : 0);
        BinaryPrimitives.WriteUInt32BigEndian(prefix.AsSpan(1), random.Next(25) switch { 0 => (uint)random.NextInt64(uint.MaxValue), 1 => 63 << 20, 2 => (uint)Math.Max(0, length - 1), _ => (uint)length });
        return prefix;
    }

    private byte[] Mutated(byte[] bytes)
    {
        if (bytes.Length == 0 || random.Next(3) != 0)
            return bytes;
        var list = bytes.ToList();
        for (var i = random.Next(4); i >= 0 && list.Count > 0; i--)
        {
            var at = random.Next(list.Count);
            switch (random.Next(5))
            {
                case 0: list[at] ^= (byte)(1 << random.Next(8)); break;
                case 1: list[at] = (byte)random.Next(256); break;
                case 2: list.RemoveRange(at, random.Next(list.Count - at)); break;
                case 3: list.InsertRange(at, list.GetRange(0, random.Next(Math.Min(list.Count, 200)))); break;
                case 4: list.InsertRange(at, Enumerable.Repeat((byte)random.Next(256), random.Next(100))); break;
            }
        }

        return [.. list];
    }

    private IMessage Message(MessageDescriptor type, int depth)
    {
        var message = type.Parser.ParseFrom(ByteString.Empty);
        foreach (var field in type.Fields.InDeclarationOrder())
        {
            if (_left <= 0)
                break;
            if (random.Next(4) == 0 || (depth >= MaxDepth && field.FieldType == FieldType.Message))
                continue;
            if (field.IsMap)
            {
                var map = (IDictionary)field.Accessor.GetValue(message);
                for (var i = random.Next(3); i > 0; i--)
                    map[Value(field.MessageType.FindFieldByNumber(1), depth)] = Value(field.MessageType.FindFieldByNumber(2), depth);
            }
            else if (field.IsRepeated)
            {
                var list = (IList)field.Accessor.GetValue(message);
                for (var i = random.Next(30) == 0 ? random.Next(20_000) : random.Next(4); i > 0 && _left > 0; i--)
                    list.Add(Value(field, Math.Max(depth, list.Count > 10 ? MaxDepth : 0)));
            }
            else
                field.Accessor.SetValue(message, Value(field, depth));
        }

        return message;
    }

    private object Value(FieldDescriptor field, int depth)
    {
        var value = Any(field, depth);
        _left -= value switch { string text => text.Length, ByteString bytes => bytes.Length, _ => 0 } + sizeof(long);
        return value;
    }

    private object Any(FieldDescriptor field, int depth) => field.FieldType switch
    {
        FieldType.String => Text(field),
        FieldType.Bytes => ByteString.CopyFrom(Bytes()),
        FieldType.Message => Message(field.MessageType, depth + 1),
        FieldType.Enum => Enum.ToObject(field.EnumType.ClrType, random.Next(3) == 0 ? (int)Number() : random.Next(field.EnumType.Values.Count)),
        FieldType.Bool => random.Next(2) == 0,
        FieldType.Double => Real(),
        FieldType.Float => (float)Real(),
        FieldType.Int32 or FieldType.SInt32 or FieldType.SFixed32 => (int)Number(),
        FieldType.UInt32 or FieldType.Fixed32 => (uint)Number(),
        FieldType.UInt64 or FieldType.Fixed64 => (ulong)Number(),
        _ => Number(),
    };

    private string Text(FieldDescriptor field) => random.Next(10) switch
    {
        0 => "",
        1 => "../../etc/passwd",
        2 => new string('x', random.Next(100_000)),
        3 => "\u202e\u0007\e[2J\ud83d\ude00",
        4 => new string('a', 64),
        _ => field.Name.Contains("id", StringComparison.Ordinal) || random.Next(2) == 0 ? ids[random.Next(ids.Count)] : "a word",
    };

    private byte[] Bytes()
    {
        var bytes = new byte[random.Next(20) == 0 ? random.Next(1 << 20) : random.Next(300)];
        random.NextBytes(bytes);
        return bytes;
    }

    private long Number() => random.Next(3) == 0 ? Edges[random.Next(Edges.Length)] : random.Next(100);

    private double Real() => random.Next(3) == 0 ? RealEdges[random.Next(RealEdges.Length)] : random.NextDouble();
}

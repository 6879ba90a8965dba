using System.Buffers;
using System.Text.Unicode;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace MLDistributed.Protocol;

/// <summary>
/// Walks through the bytes of a message before a parser makes objects of them, and refuses what would make more of them than
/// <see cref="WireLimits"/> allow: two bytes on the wire can be an object of a hundred. Allocates nothing by what it reads.
/// </summary>
public static class WireScan
{
    private const int MaxDepth = 16;
    private const int MaxUnknownFields = 256;
    private const int StackBytes = 256;

    /// <summary>What is wrong first, in a sentence; null when the message may be parsed.</summary>
    /// <param name="message">Its bytes.</param>
    /// <param name="type">What it is to be.</param>
    public static string? Refusal(ReadOnlySequence<byte> message, MessageDescriptor type)
    {
        ArgumentNullException.ThrowIfNull(type);
        var walk = new Walk(message);
        return walk.Refusal(type, message.Length, depth: 0);
    }

    private ref struct Walk(ReadOnlySequence<byte> message)
    {
        private SequenceReader<byte> _bytes = new(message);
        private int _unknown;

        public string? Refusal(MessageDescriptor type, long end, int depth)
        {
            if (depth > MaxDepth)
                return $"{type.Name} is nested {depth} deep, expected at most {MaxDepth}.";
            Span<int> counts = stackalloc int[type.Fields.InDeclarationOrder().Count];
            counts.Clear();
            while (_bytes.Consumed < end)
            {
                if (!TryVarint(end, out var tag) || tag > uint.MaxValue || tag >> 3 == 0)
                    return Broken(type);
                var (number, wire) = ((int)(tag >> 3), (WireFormat.WireType)(tag & 7));
                var field = type.FindFieldByNumber(number);
                if ((field is null ? Skip(type, wire, end) : Field(field, wire, end, depth, ref counts[field.Index])) is { } refusal)
                    return refusal;
            }

            return _bytes.Consumed == end ? null : Broken(type);
        }

        private string? Skip(MessageDescriptor type, WireFormat.WireType wire, long end)
        {
            if (++_unknown > MaxUnknownFields)
                return $"{type.Name} has more than {MaxUnknownFields} fields that this release does not know. Use the same release on both sides.";
            return wire switch
            {
                WireFormat.WireType.Varint => TryVarint(end, out _),
                WireFormat.WireType.Fixed32 => TryAdvance(sizeof(uint), end),
                WireFormat.WireType.Fixed64 => TryAdvance(sizeof(ulong), end),
                WireFormat.WireType.LengthDelimited => TryVarint(end, out var length) && TryAdvance(length, end),
                _ => false,
            } ? null : Broken(type);
        }

        private string? Field(FieldDescriptor field, WireFormat.WireType wire, long end, int depth, ref int count)
        {
            var limit = WireLimits.Of(field);
            var isParted = field.FieldType is FieldType.String or FieldType.Bytes or FieldType.Message;
            if (!isParted && wire != WireFormat.WireType.LengthDelimited)
                return !(wire switch
                {
                    WireFormat.WireType.Varint => TryVarint(end, out _),
                    WireFormat.WireType.Fixed32 => TryAdvance(sizeof(uint), end),
                    WireFormat.WireType.Fixed64 => TryAdvance(sizeof(ulong), end),
                    _ => false,
                }) ? Broken(field.ContainingType) : Counted(field, limit, ref count, 1);
            if (wire != WireFormat.WireType.LengthDelimited || !TryVarint(end, out var length) || length > (ulong)(end - _bytes.Consumed))
                return Broken(field.ContainingType);
            var last = _bytes.Consumed + (long)length;
            if (!isParted)
                return Packed(field, last, out var values) ? Counted(field, limit, ref count, values) : Broken(field.ContainingType);
            if (Counted(field, limit, ref count, 1) is { } tooMany)
                return tooMany;
            if (field.FieldType == FieldType.Message)
                return field.IsRepeated || count == 1 ? Refusal(field.MessageType, last, depth + 1) : $"{Name(field)} is there twice, expected once. Use the same release on both sides.";
            // A character of UTF-16 takes at most three bytes of UTF-8.
            var most = field.FieldType == FieldType.String ? 3L * limit.MaxLength : limit.MaxLength;
            if ((long)length > most)
                return $"{Name(field)} has {length:N0} bytes, expected at most {limit.MaxLength:N0}{(field.FieldType == FieldType.String ? " characters" : "")}. Shorten it.";
            if (field.FieldType == FieldType.String && !IsText((int)length))
                return $"{Name(field)} is no text, expected UTF-8.";
            _bytes.Advance(last - _bytes.Consumed);
            return null;
        }

        private bool Packed(FieldDescriptor field, long end, out int values)
        {
            var bytes = end - _bytes.Consumed;
            var width = field.FieldType switch
            {
                FieldType.Fixed32 or FieldType.SFixed32 or FieldType.Float => sizeof(uint),
                FieldType.Fixed64 or FieldType.SFixed64 or FieldType.Double => sizeof(ulong),
                _ => 0,
            };
            values = width == 0 ? 0 : (int)(bytes / width);
            if (width != 0)
                return bytes % width == 0 && TryAdvance((ulong)bytes, end);
            for (; _bytes.Consumed < end; values++)
                if (!TryVarint(end, out _))
                    return false;
            return true;
        }

        private static string? Counted(FieldDescriptor field, FieldLimit limit, ref int count, int more)
        {
            count = (int)Math.Min(int.MaxValue, (long)count + more);
            return !field.IsRepeated || count <= limit.MaxCount ? null : $"{Name(field)} has more than {limit.MaxCount:N0} values, expected at most that many. Send less, and use the same release on both sides.";
        }

        private readonly bool IsText(int length)
        {
            var text = _bytes.UnreadSequence.Slice(0, length);
            if (text.IsSingleSegment)
                return Utf8.IsValid(text.FirstSpan);
            if (length <= StackBytes)
            {
                Span<byte> small = stackalloc byte[StackBytes];
                text.CopyTo(small);
                return Utf8.IsValid(small[..length]);
            }

            var rented = ArrayPool<byte>.Shared.Rent(length);
            text.CopyTo(rented);
            var isText = Utf8.IsValid(rented.AsSpan(0, length));
            ArrayPool<byte>.Shared.Return(rented);
            return isText;
        }

        private bool TryVarint(long end, out ulong value)
        {
            value = 0;
            for (var shift = 0; shift < 70 && _bytes.Consumed < end && _bytes.TryRead(out var part); shift += 7)
            {
                if (shift < 64)
                    value |= (ulong)(part & 0x7F) << shift;
                if (part < 0x80)
                    return true;
            }

            return false;
        }

        private bool TryAdvance(ulong bytes, long end)
        {
            if (bytes > (ulong)(end - _bytes.Consumed))
                return false;
            _bytes.Advance((long)bytes);
            return true;
        }

        private static string Name(FieldDescriptor field) => $"{field.ContainingType.Name}.{field.Name}";

        private static string Broken(MessageDescriptor type) => $"The bytes of a {type.Name} cannot be read, expected the message of this release. Use the same release on both sides.";
    }
}

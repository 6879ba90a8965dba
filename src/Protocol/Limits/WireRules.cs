using System.Collections;
using System.Collections.Concurrent;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace MLDistributed.Protocol;

/// <summary>
/// Compares messages with <see cref="WireLimits"/>: lengths of texts, members of enums, ids, ranges of whole numbers and counts.
/// Coordinator, agent, rank and client look at what they receive by this before they use it.
/// </summary>
public static class WireRules
{
    private static readonly ConcurrentDictionary<MessageDescriptor, Rule[]> s_rules = new();

    /// <summary>What is wrong first, in a sentence that names the field, its value and what was expected; null when nothing is.</summary>
    /// <param name="message">Any of ours, of any depth.</param>
    public static string? Refusal(IMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        foreach (var rule in s_rules.GetOrAdd(message.Descriptor, static d => [.. d.Fields.InDeclarationOrder().Where(IsChecked).Select(f => new Rule(f))]))
            if (rule.Refusal(message) is { } refusal)
                return refusal;
        return null;
    }

    /// <summary>Shortens the texts for people that are too long to be received, in place: a rank's last words may have any length.</summary>
    public static void Clip(IMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        foreach (var field in message.Descriptor.Fields.InDeclarationOrder())
        {
            var value = field.Accessor.GetValue(message);
            var limit = WireLimits.Of(field);
            if (field.IsMap)
                continue; // of ids and names
            if (value is IMessage part)
                Clip(part);
            else if (value is string text && limit.Kind == TextKind.Any && text.Length > limit.MaxLength)
                field.Accessor.SetValue(message, Clipped(text, limit.MaxLength));
            else if (value is IList<string> texts && limit.Kind == TextKind.Any)
                for (var i = 0; i < texts.Count; i++)
                    texts[i] = Clipped(texts[i], limit.MaxLength);
        }
    }

    // Surrogates stay pairs: half of one is no text.
    private static string Clipped(string text, int most)
    {
        const string Ellipsis = "...";
        if (text.Length <= most)
            return text;
        var end = most - Ellipsis.Length;
        return text[..(char.IsHighSurrogate(text[end - 1]) ? end - 1 : end)] + Ellipsis;
    }

    // Real numbers may be anything: losses become NaN.
    private static bool IsChecked(FieldDescriptor field) => field.IsRepeated || field.FieldType is not (FieldType.Double or FieldType.Float or FieldType.Bool);

    private sealed class Rule(FieldDescriptor field)
    {
        private const string Remedy = "Send less, and use the same release on both sides.";
        private readonly FieldLimit _limit = WireLimits.Of(field);
        private readonly string _name = $"{field.ContainingType.Name}.{field.Name}";

        public string? Refusal(IMessage message)
        {
            var value = field.Accessor.GetValue(message);
            if (!field.IsRepeated)
                return value is null || (field.HasPresence && !field.Accessor.HasValue(message)) ? null : One(value);
            var values = (ICollection)value;
            if (values.Count > _limit.MaxCount)
                return $"{_name} has {values.Count:N0} values, expected at most {_limit.MaxCount:N0}. {Remedy}";
            return values is IDictionary map ? Entries(map) : field.FieldType is FieldType.Double or FieldType.Float or FieldType.Bool ? null : All(values);
        }

        private string? All(IEnumerable values)
        {
            foreach (var value in values)
                if (One(value) is { } refusal)
                    return refusal;
            return null;
        }

        private string? Entries(IDictionary map)
        {
            var (key, value) = (new Rule(field.MessageType.FindFieldByNumber(1)), new Rule(field.MessageType.FindFieldByNumber(2)));
            foreach (DictionaryEntry entry in map)
                if ((key.One(entry.Key) ?? value.One(entry.Value!)) is { } refusal)
                    return refusal;
            return null;
        }

        private string? One(object value) => value switch
        {
            IMessage part => WireRules.Refusal(part),
            string text => Text(text),
            ByteString bytes when bytes.Length > _limit.MaxLength => $"{_name} has {bytes.Length:N0} bytes, expected at most {_limit.MaxLength:N0}. {Remedy}",
            int number => Number(number),
            uint number => Number(number),
            long number => Number(number),
            Enum member when field.FieldType == FieldType.Enum && field.EnumType.FindValueByNumber(Convert.ToInt32(member, System.Globalization.CultureInfo.InvariantCulture)) is null =>
                $"{_name} is {Convert.ToInt32(member, System.Globalization.CultureInfo.InvariantCulture)}, expected one of {string.Join(", ", field.EnumType.Values.Select(v => $"{v.Number} ({v.Name})"))}. Use the same release on both sides.",
            _ => null,
        };

        private string? Number(long number) => number >= _limit.Least && number <= _limit.Largest
            ? null
            : $"{_name} is {number}, expected {(_limit.Largest == long.MaxValue ? $"at least {_limit.Least}" : $"{_limit.Least} to {_limit.Largest}")}. Use the same release on both sides.";

        private string? Text(string text)
        {
            if (text.Length > _limit.MaxLength)
                return $"{_name} has {text.Length:N0} characters (\"{VisibleText.Of(text[..20])}...\"), expected at most {_limit.MaxLength:N0}. Shorten it.";
            var expected = _limit.Kind switch
            {
                TextKind.HashOrEmpty or TextKind.IdOrEmpty when text.Length == 0 => null,
                TextKind.Hash or TextKind.HashOrEmpty when !ContentHash.TryParse(text, out _) => ContentHash.Expectation,
                TextKind.Id or TextKind.IdOrEmpty when !OpaqueId.TryParse(text, out _) => OpaqueId.Expectation,
                _ => null,
            };
            return expected is null ? null : $"{_name} is \"{VisibleText.Shortened(text)}\", expected {expected}. Pass the id as it was given out.";
        }
    }
}

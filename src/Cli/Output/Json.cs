using System.Text.Json;
using System.Text.Json.Serialization;

namespace MLDistributed.Cli.Output;

/// <summary>
/// Answers for programs: one document on standard output, fields in camelCase that are always there, null where there is
/// nothing to say. What is not ASCII is escaped, and so is all that a terminal would take for a command.
/// </summary>
internal static class Json
{
    private static readonly JsonSerializerOptions s_document = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Converters = { new FiniteNumbers() },
        WriteIndented = true,
    };

    private static readonly JsonSerializerOptions s_line = new(s_document) { WriteIndented = false };

    public static void Write<T>(T value) => Console.WriteLine(Document(value));

    public static string Document<T>(T value) => JsonSerializer.Serialize(value, s_document);

    /// <summary>For streams: a document a line.</summary>
    public static string Line<T>(T value) => JsonSerializer.Serialize(value, s_line);

    // JSON has no NaN and no infinity: a loss that became one is null.
    private sealed class FiniteNumbers : JsonConverter<double>
    {
        public override double Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.GetDouble();

        public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options)
        {
            if (double.IsFinite(value))
                writer.WriteNumberValue(value);
            else
                writer.WriteNullValue();
        }
    }
}

using System.Text.Json;
using System.Text.Json.Serialization;

namespace MLDistributed.Protocol;

/// <summary>The argument of a user's module as JSON: how it travels.</summary>
public static class ModuleOptions
{
    /// <summary>The most characters.</summary>
    public const int MaxLength = 1 << 16;

    private static readonly JsonSerializerOptions s_options = new() { IncludeFields = true, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals };

    /// <summary>An argument as text.</summary>
    /// <exception cref="NotSupportedException">It, or a part of it, cannot be written.</exception>
    /// <exception cref="JsonException">It is nested too deep, or in a circle.</exception>
    public static string Write(object argument, Type type) => JsonSerializer.Serialize(argument, type, s_options);

    /// <summary>The argument that a text is of.</summary>
    /// <exception cref="NotSupportedException">The type cannot be made of text.</exception>
    /// <exception cref="JsonException">The text is of another.</exception>
    public static object? Read(string text, Type type) => JsonSerializer.Deserialize(text, type, s_options);
}

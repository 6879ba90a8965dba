using System.Collections;
using System.Globalization;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace MLDistributed.Protocol;

/// <summary>Makes all text of a message visible where it comes in, so that whoever shows a part of it, now or later, shows nothing that hides.</summary>
public static class VisibleMessage
{
    // Longer than any sentence or stack of ours; a log of an app should not take a worker's megabytes.
    private const int MaxLength = 1 << 16;

    /// <summary>Every string in the message, and in those within it, as <see cref="VisibleText.Hanging"/> has it, of long ones the beginning. Keys of maps stay: they name, and are not shown.</summary>
    /// <param name="message">A message that came from elsewhere; changed in place.</param>
    public static T MakeVisible<T>(this T message)
        where T : IMessage
    {
        ArgumentNullException.ThrowIfNull(message);
        foreach (var field in message.Descriptor.Fields.InDeclarationOrder())
        {
            if (field.FieldType is not (FieldType.String or FieldType.Message or FieldType.Group))
                continue;
            switch (field.Accessor.GetValue(message))
            {
                case string text when Visible(text) is var visible && visible != text:
                    field.Accessor.SetValue(message, visible);
                    break;
                case IMessage inner:
                    inner.MakeVisible();
                    break;
                case IDictionary map:
                    foreach (var value in map.Values.OfType<IMessage>())
                        value.MakeVisible();
                    break;
                case IList list:
                    MakeVisible(list);
                    break;
            }
        }

        return message;
    }

    private static void MakeVisible(IList list)
    {
        for (var i = 0; i < list.Count; i++)
        {
            if (list[i] is IMessage inner)
                inner.MakeVisible();
            else if (list[i] is string text)
                list[i] = Visible(text);
        }
    }

    private static string Visible(string text) => text.Length > MaxLength
        ? string.Create(CultureInfo.InvariantCulture, $"{Visible(text[..MaxLength])}... ({text.Length - MaxLength:N0} more characters)")
        : text.AsSpan().IndexOfAnyExceptInRange(' ', '~') < 0 ? text : VisibleText.Hanging(text, "  ");
}

using System.Collections;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace MLDistributed.Protocol;

/// <summary>Makes all text of a message visible where it comes in, so that whoever shows a part of it, now or later, shows nothing that hides.</summary>
public static class VisibleMessage
{
    /// <summary>Every string in the message, and in those within it, as <see cref="VisibleText.Hanging"/> has it. Keys of maps stay: they name, and are not shown.</summary>
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

    private static string Visible(string text) => text.AsSpan().IndexOfAnyExceptInRange(' ', '~') < 0 ? text : VisibleText.Hanging(text, "  ");
}

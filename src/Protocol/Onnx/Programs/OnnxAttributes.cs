namespace MLDistributed.Protocol.Onnx;

/// <summary>A node's attributes, each read by its name; what is left unread, or is of another kind, is an error.</summary>
internal sealed class OnnxAttributes
{
    private readonly Dictionary<string, AttributeProto> _unread = new(StringComparer.Ordinal);

    /// <exception cref="FormatException">One is there twice.</exception>
    public OnnxAttributes(NodeProto node)
    {
        foreach (var attribute in node.Attribute)
            if (!_unread.TryAdd(attribute.Name, attribute))
                throw new FormatException($"has the attribute \"{VisibleText.Shortened(attribute.Name)}\" twice");
    }

    public int Integer(string name, int otherwise) => Take(name) is { } a ? Whole(name, a.I, a.Type == AttributeProto.Types.AttributeType.Int) : otherwise;

    public float Number(string name, float otherwise) => Take(name) is not { } a ? otherwise
        : a.Type == AttributeProto.Types.AttributeType.Float && float.IsFinite(a.F) ? a.F : throw Wrong(name);

    public string Text(string name, string otherwise) => Take(name) is not { } a ? otherwise
        : a.Type == AttributeProto.Types.AttributeType.String ? a.S.ToStringUtf8() : throw Wrong(name);

    /// <summary>A list of so many texts; null: it is not there.</summary>
    public string[]? Texts(string name, int count) => Take(name) is not { } a ? null
        : a.Type == AttributeProto.Types.AttributeType.Strings && a.Strings.Count == count ? [.. a.Strings.Select(s => s.ToStringUtf8())] : throw Wrong(name);

    /// <summary>A list of so many whole numbers; null: any number of them.</summary>
    public int[] List(string name, int? count, int[] otherwise)
    {
        if (Take(name) is not { } a)
            return otherwise;
        return a.Type == AttributeProto.Types.AttributeType.Ints && (count is null || a.Ints.Count == count) ? [.. a.Ints.Select(i => Whole(name, i, isInteger: true))] : throw Wrong(name);
    }

    /// <exception cref="FormatException">There is one that was not read.</exception>
    public void RequireNoOther()
    {
        if (_unread.Count > 0)
            throw new FormatException($"has the attribute \"{VisibleText.Shortened(_unread.Keys.First())}\", which is not known");
    }

    private AttributeProto? Take(string name) => _unread.Remove(name, out var attribute) ? attribute : null;

    private static int Whole(string name, long value, bool isInteger) => isInteger && value is >= int.MinValue and <= int.MaxValue ? (int)value : throw Wrong(name);

    private static FormatException Wrong(string name) => new($"has an attribute \"{name}\" of another kind than expected");
}

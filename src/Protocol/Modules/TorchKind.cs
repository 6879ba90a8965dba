using MLDistributed.Protocol.Onnx;

namespace MLDistributed.Protocol;

/// <summary>A TorchSharp module of the user's own. What is in it shows when a rank has made it.</summary>
public sealed class TorchKind : IModuleKind
{
    /// <summary>The most numbers of such a module: a gibibyte of them, which is what a client fetches without knowing the layers.</summary>
    public const long MaxParameters = 1L << 28;

    /// <summary>The most keys that a column of ids can have: whole numbers up to it are exact in a row's numbers.</summary>
    public const int MaxKeyCount = 1 << 24;

    /// <summary>The most named inputs, labels, or outputs.</summary>
    public const int MaxInputs = 1000;

    private const int MaxNameLength = 1000;
    private const int MaxInputNameLength = 200;
    private static readonly string[] s_outputs = [OnnxMlpWriter.Score, OnnxMlpWriter.Probability];
    private readonly TorchModuleSpec _torch;

    internal TorchKind(TorchModuleSpec torch) => _torch = torch;

    /// <inheritdoc/>
    public int InputSize => _torch.InputSize;

    /// <inheritdoc/>
    public int ModelInputSize => _torch.Labels.Count == 0 ? _torch.InputSize : _torch.Inputs.Sum(i => i.Size);

    /// <inheritdoc/>
    public int OutputSize => _torch.OutputSize;

    /// <inheritdoc/>
    /// <remarks>Its rank looks.</remarks>
    public bool JoinsRows => false;

    /// <inheritdoc/>
    public Int128 ActivationsOfRow => _torch.OutputSize;

    /// <inheritdoc/>
    public IEnumerable<string> Errors(MlTask task)
    {
        if (task is MlTask.Binary or MlTask.Regression && _torch.OutputSize != 1)
            yield return $"Output size is {_torch.OutputSize}, expected 1 in {task.ToString().ToLowerInvariant()} training.";
        if (!ContentHash.TryParse(_torch.PackageId, out _))
            yield return $"Code package is \"{VisibleText.Shortened(_torch.PackageId)}\", expected {ContentHash.Expectation}.";
        foreach (var (what, name, isNeeded) in new[] { ("Module's assembly", _torch.Assembly, !_torch.IsScript), ("Module's type", _torch.Type, true), ("Type of the module's options", _torch.OptionsType, false) })
            if (name.Length > MaxNameLength || (isNeeded && name.Length == 0) || name.Any(char.IsControl))
                yield return $"{what} is \"{VisibleText.Shortened(name)}\", expected a name of {(isNeeded ? 1 : 0)} to {MaxNameLength:N0} characters.";
        if (_torch.Options.Length > ModuleOptions.MaxLength)
            yield return $"The module's options are {_torch.Options.Length:N0} characters of JSON, expected at most {ModuleOptions.MaxLength:N0}. Have the module read what is large from the data.";
        if (_torch.IsScript && (_torch.Assembly.Length + _torch.OptionsType.Length + _torch.Options.Length > 0 || _torch.Inputs.Count > 0))
            yield return $"The TorchScript file \"{VisibleText.Shortened(_torch.Type)}\" has an assembly, options or named inputs beside it, expected none: its module takes all features as one tensor.";
        foreach (var error in InputErrors().Concat(OutputErrors(task)))
            yield return error;
    }

    private IEnumerable<string> InputErrors()
    {
        foreach (var error in PartErrors("input", _torch.Inputs).Concat(PartErrors("label", _torch.Labels)))
            yield return error;
        if (_torch.Inputs.Count > 0 && _torch.Inputs.Concat(_torch.Labels).Sum(i => (long)i.Size) is var sum && sum != _torch.InputSize)
            yield return $"The module's inputs{(_torch.Labels.Count > 0 ? " and labels" : "")} have {sum:N0} numbers a row, expected {_torch.InputSize:N0}, its input size.";
    }

    private static IEnumerable<string> PartErrors(string role, IReadOnlyList<ModuleInput> parts)
    {
        var subject = $"{char.ToUpperInvariant(role[0])}{role[1..]}";
        if (parts.Count > MaxInputs)
            yield return $"The module has {parts.Count:N0} {role}s, expected at most {MaxInputs:N0}.";
        foreach (var part in parts.Take(MaxInputs))
        {
            if (!IsName(part.Name) || s_outputs.Contains(part.Name))
                yield return $"{subject} \"{VisibleText.Shortened(part.Name)}\" of the module has a name that its model cannot have, expected 1 to {MaxInputNameLength} letters, digits and underscores, and none of {string.Join(", ", s_outputs)}.";
            if (part.Size < 1)
                yield return $"{subject} \"{VisibleText.Shortened(part.Name)}\" of the module has {part.Size} numbers a row, expected at least 1.";
            if (part.KeyCount is < 0 or > MaxKeyCount)
                yield return $"{subject} \"{VisibleText.Shortened(part.Name)}\" of the module has {part.KeyCount:N0} keys, expected at most {MaxKeyCount:N0}, up to which a row's numbers are exact.";
        }

        if (parts.DistinctBy(i => i.Name).Count() != parts.Count)
            yield return $"Two {role}s of the module have the same name, expected a name for each.";
    }

    private IEnumerable<string> OutputErrors(MlTask task)
    {
        if (task != MlTask.Own)
        {
            if (_torch.Labels.Count + _torch.Outputs.Count > 0)
                yield return $"The module has {_torch.Outputs.Count:N0} outputs and {_torch.Labels.Count:N0} labels by name in {task.ToString().ToLowerInvariant()} training, expected none: they are for a task of its own.";
            yield break;
        }

        if (_torch.Inputs.Count == 0 || _torch.Labels.Count == 0 || _torch.Outputs.Count is 0 or > MaxInputs || _torch.OutputSize != 0)
            yield return $"The module has {_torch.Inputs.Count:N0} inputs, {_torch.Labels.Count:N0} labels and {_torch.Outputs.Count:N0} outputs of the size {_torch.OutputSize:N0}, expected at least one of each, at most {MaxInputs:N0}, and no size, which the module has.";
        var inputs = _torch.Inputs.Select(i => i.Name).ToHashSet(StringComparer.Ordinal);
        var columns = new HashSet<string>(StringComparer.Ordinal);
        foreach (var output in _torch.Outputs.Take(MaxInputs))
        {
            if (!IsName(output.Name))
                yield return $"Output \"{VisibleText.Shortened(output.Name)}\" of the module has a name that no tensor of a record has, expected 1 to {MaxInputNameLength} letters, digits and underscores.";
            if (output.Column.Length is 0 or > MaxInputNameLength || output.Column.Any(char.IsControl))
                yield return $"Output \"{VisibleText.Shortened(output.Name)}\" of the module has the column \"{VisibleText.Shortened(output.Column)}\", expected a name of 1 to {MaxInputNameLength} characters.";
            else if (inputs.Contains(output.Column))
                yield return $"Output \"{VisibleText.Shortened(output.Name)}\" of the module has the column \"{VisibleText.Shortened(output.Column)}\", which is called as an input, expected another: its ONNX file has both. Name it in OutputColumnNames.";
            else if (!columns.Add(output.Column))
                yield return $"Two outputs of the module have the column \"{VisibleText.Shortened(output.Column)}\", expected one for each. Name it in OutputColumnNames.";
        }

        if (_torch.Outputs.DistinctBy(o => o.Name).Count() != _torch.Outputs.Count)
            yield return "Two outputs of the module have the same name, expected a name for each.";
    }

    private static bool IsName(string name) => name.Length is > 0 and <= MaxInputNameLength && name.All(c => char.IsLetterOrDigit(c) || c == '_');

    /// <inheritdoc/>
    public (long Least, long Most) ModelBytes(JobSpec spec) => (1, (MaxParameters * sizeof(float)) + OnnxGraphReader.MaxBytesBesides);

    /// <inheritdoc/>
    public void CheckModel(byte[] onnx, JobSpec spec) => OnnxProgram.Read(onnx, spec);
}

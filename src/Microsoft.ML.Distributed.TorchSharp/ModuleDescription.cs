using System.Text.Json;
using MLDistributed.Protocol;
using static TorchSharp.torch;

namespace Microsoft.ML.Distributed;

/// <summary>What a job says of a module: its type and its constructor's argument. Nothing of TorchSharp runs here.</summary>
internal static class ModuleDescription
{
    /// <exception cref="ArgumentException">No worker could make it.</exception>
    public static OwnModule Of(Type module, object? argument)
    {
        if (module.IsAbstract || module.IsGenericType || !(module.IsPublic || module.IsNestedPublic || module.IsNotPublic || module.IsNested))
            throw new ArgumentException($"Module \"{module.Name}\" is abstract or generic, expected a class that can be constructed.", nameof(module));
        var description = new TorchModuleSpec { Assembly = module.Assembly.GetName().Name ?? "", Type = module.FullName ?? module.Name };
        if (argument is null)
        {
            if (module.GetConstructor(Type.EmptyTypes) is null)
                throw new ArgumentException($"Module \"{module.Name}\" has no public constructor without parameters, expected one, or its argument as moduleOptions.", nameof(argument));
            return new OwnModule(description, () => ModuleAssemblies.Pack(module.Assembly));
        }

        var type = argument.GetType();
        if (!module.GetConstructors().Any(c => c.GetParameters() is [var only] && only.ParameterType == type))
            throw new ArgumentException($"Module \"{module.Name}\" has no public constructor with one parameter of the type \"{type.Name}\", expected one, as its argument is of that type.", nameof(argument));
        description.OptionsType = type.FullName ?? type.Name;
        description.Options = Json(argument, type);
        return new OwnModule(description, () => ModuleAssemblies.Pack(module.Assembly, type.Assembly));
    }

    /// <summary>A TorchScript file and the ONNX file of the same module; null: that which is called as it.</summary>
    /// <exception cref="FormatException">One is no such file.</exception>
    public static OwnModule OfScript(string scriptPath, string? onnxPath)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(scriptPath);
        var name = Path.GetFileName(scriptPath);
        onnxPath ??= Path.ChangeExtension(scriptPath, ".onnx");
        if (!File.Exists(onnxPath))
            throw new FileNotFoundException($"\"{onnxPath}\" is not there, expected the ONNX file of the module in \"{name}\", by which its model scores: torch.onnx.export(module.eval(), rows, ..., training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False) writes it. Name another as onnxPath.", onnxPath);
        var (script, onnx) = (File.ReadAllBytes(scriptPath), File.ReadAllBytes(onnxPath));
        TorchScript.Check(script, name);
        var package = TorchScript.Pack(script, onnx);
        return new OwnModule(new TorchModuleSpec { IsScript = true, Type = name }, () => package);
    }

    /// <summary>The inputs of a module that takes a record of tensors: what these are called.</summary>
    /// <exception cref="ArgumentException">It is no such record.</exception>
    public static IReadOnlyList<string> InputsOf(Type record) => NamesOf(record, "Inputs", " For a module of one tensor use DistributedTorchModule<TModule>.");

    /// <summary>What the tensors of a module whose outputs are columns are called.</summary>
    /// <exception cref="ArgumentException">One of them is no record of tensors.</exception>
    public static ModuleNames NamesOf(Type inputs, Type outputs, Type labels) => new(NamesOf(inputs, "Inputs"), NamesOf(labels, "Labels"), NamesOf(outputs, "Outputs"));

    private static IReadOnlyList<string> NamesOf(Type record, string role, string besides = "")
    {
        if (record != typeof(Tensor) && !record.IsAssignableTo(typeof(System.Runtime.CompilerServices.ITuple)) && record.GetConstructors() is [var constructor]
            && constructor.GetParameters() is { Length: > 0 } tensors && Array.TrueForAll(tensors, t => t.ParameterType == typeof(Tensor) && record.GetProperty(t.Name!)?.PropertyType == typeof(Tensor)))
            return [.. tensors.Select(t => t.Name!)];
        throw new ArgumentException($"{role} \"{record.Name}\" are no record of tensors, expected a type with one public constructor whose parameters are tensors, and properties that are called as these, as: public sealed record {(record == typeof(Tensor) ? role : record.Name)}(Tensor User, Tensor Item).{besides}", nameof(record));
    }

    private static string Json(object argument, Type type)
    {
        try
        {
            var text = ModuleOptions.Write(argument, type);
            if (text.Length > ModuleOptions.MaxLength)
                throw new ArgumentException($"The argument of type \"{type.Name}\" is {text.Length:N0} characters of JSON, expected at most {ModuleOptions.MaxLength:N0}. Have the module read what is large from the data.", nameof(argument));
            // What does not come back as it went would be another module on the workers.
            return ModuleOptions.Read(text, type) is { } again && ModuleOptions.Write(again, type) == text ? text
                : throw new ArgumentException($"The argument of type \"{type.Name}\" is another after it was JSON, expected public properties or fields that can be set, or a record: {text[..Math.Min(text.Length, 200)]}", nameof(argument));
        }
        catch (Exception e) when (e is NotSupportedException or JsonException or InvalidOperationException)
        {
            throw new ArgumentException($"The argument of type \"{type.Name}\" cannot travel as JSON ({e.Message.TrimEnd('.')}), expected public properties or fields of simple types, or a record of them.", nameof(argument), e);
        }
    }
}

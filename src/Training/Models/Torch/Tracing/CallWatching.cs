using System.Globalization;
using System.Reflection;
using Mono.Cecil;
using Mono.Cecil.Cil;
using MethodAttributes = Mono.Cecil.MethodAttributes;
using ParameterAttributes = Mono.Cecil.ParameterAttributes;
using TypeAttributes = Mono.Cecil.TypeAttributes;

namespace MLDistributed.Training.Models;

/// <summary>
/// Changes an assembly: in the place of each call of a public method of TorchSharp that takes or gives tensors it calls a method of
/// a class that is added, which calls the same and tells a listener. Calls of base methods, of constructors, and by delegates to
/// TorchSharp's own methods stay as they are.
/// </summary>
internal sealed class CallWatching
{
    /// <summary>The class that is added.</summary>
    public const string TypeName = Namespace + "." + Name;

    /// <summary>Its field with the listener.</summary>
    public const string FieldName = "Listener";

    private const string Namespace = "MLDistributed.Watched";
    private const string Name = "Calls";

    private static readonly Assembly s_torch = typeof(TorchSharp.torch).Assembly;
    private readonly ModuleDefinition _module;
    private readonly TypeDefinition _type;
    private readonly FieldDefinition _listener;
    private readonly Dictionary<string, MethodDefinition?> _watched = new(StringComparer.Ordinal);

    private CallWatching(ModuleDefinition module)
    {
        _module = module;
        _type = new TypeDefinition(Namespace, Name, TypeAttributes.Public | TypeAttributes.Abstract | TypeAttributes.Sealed | TypeAttributes.BeforeFieldInit, module.TypeSystem.Object);
        _listener = new FieldDefinition(FieldName, Mono.Cecil.FieldAttributes.Public | Mono.Cecil.FieldAttributes.Static, module.ImportReference(typeof(Action<MethodBase, string, object[], object>)));
        _type.Fields.Add(_listener);
    }

    /// <summary>The changed assembly; the same where it does not use TorchSharp.</summary>
    public static byte[] Rewrite(byte[] assembly)
    {
        using var definition = AssemblyDefinition.ReadAssembly(new MemoryStream(assembly));
        var module = definition.MainModule;
        if (!module.AssemblyReferences.Any(r => r.Name == s_torch.GetName().Name))
            return assembly;
        var watching = new CallWatching(module);
        foreach (var method in module.GetTypes().SelectMany(t => t.Methods).Where(m => m.HasBody).ToList())
            watching.Change(method);
        module.Types.Add(watching._type);
        module.Attributes |= ModuleAttributes.ILOnly; // code compiled ahead is of what it was
        using var changed = new MemoryStream();
        definition.Write(changed);
        return changed.ToArray();
    }

    private void Change(MethodDefinition method)
    {
        foreach (var instruction in method.Body.Instructions)
        {
            if (instruction.Operand is not MethodReference target || instruction.Previous?.OpCode.OpCodeType == OpCodeType.Prefix)
                continue;
            // A method of an object that is called without looking for overrides is that of a base, or of a struct.
            if (instruction.OpCode != (target.HasThis ? OpCodes.Callvirt : OpCodes.Call) || Watched(target, $"{Outermost(method.DeclaringType).Name}.{PlainName(method)}") is not { } watched)
                continue;
            (instruction.OpCode, instruction.Operand) = (OpCodes.Call, watched);
        }
    }

    private static TypeDefinition Outermost(TypeDefinition type) => type.DeclaringType is { } outer && type.Name.StartsWith('<') ? Outermost(outer) : type;

    // Of a lambda or a local function, "<forward>b__0", the method that it is in.
    private static string PlainName(MethodDefinition method) => method.Name is ['<', .. var rest] && rest.IndexOf('>', StringComparison.Ordinal) is > 0 and var end ? rest[..end] : method.Name;

    private MethodDefinition? Watched(MethodReference target, string caller)
    {
        var key = $"{target.FullName} {caller}";
        if (!_watched.TryGetValue(key, out var watched))
            _watched[key] = watched = IsOfInterest(target) ? Make(target, caller) : null;
        return watched;
    }

    private static bool IsOfInterest(MethodReference target)
    {
        var declaring = target.DeclaringType.GetElementType();
        if ((declaring.Scope as AssemblyNameReference)?.Name != s_torch.GetName().Name)
            return false;
        var type = s_torch.GetType(declaring.FullName.Replace('/', '+'));
        const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.FlattenHierarchy;
        return type is not null && type.GetMethods(All).Where(m => m.Name == target.Name).All(m => m.IsPublic);
    }

    private MethodDefinition? Make(MethodReference target, string caller)
    {
        var parameters = target.Parameters.Select(p => Closed(p.ParameterType, target)).ToList();
        var result = Closed(target.ReturnType, target);
        if (target.HasThis)
            parameters.Insert(0, Closed(target.DeclaringType, target));
        if (result is null || parameters.Contains(null) || !parameters.Append(result).Any(t => HasTensor(t!)))
            return null;
        var watched = new MethodDefinition(string.Create(CultureInfo.InvariantCulture, $"Call{_type.Methods.Count}"), MethodAttributes.Public | MethodAttributes.Static | MethodAttributes.HideBySig, result);
        foreach (var parameter in parameters)
            watched.Parameters.Add(new ParameterDefinition("", ParameterAttributes.None, parameter));
        watched.Body.InitLocals = true;
        Write(watched, target, caller);
        _type.Methods.Add(watched);
        return watched;
    }

    private void Write(MethodDefinition watched, MethodReference target, string caller)
    {
        var il = watched.Body.GetILProcessor();
        var end = il.Create(OpCodes.Nop);
        var isVoid = watched.ReturnType.MetadataType == MetadataType.Void;
        var result = new VariableDefinition(isVoid ? _module.TypeSystem.Object : watched.ReturnType);
        watched.Body.Variables.Add(result);
        foreach (var parameter in watched.Parameters)
            il.Emit(OpCodes.Ldarg, parameter);
        il.Emit(target.HasThis ? OpCodes.Callvirt : OpCodes.Call, target);
        if (!isVoid)
            il.Emit(OpCodes.Stloc, result);
        il.Emit(OpCodes.Ldsfld, _listener);
        il.Emit(OpCodes.Brfalse, end);
        il.Emit(OpCodes.Ldsfld, _listener);
        il.Emit(OpCodes.Ldtoken, target);
        il.Emit(OpCodes.Ldtoken, target.DeclaringType);
        il.Emit(OpCodes.Call, _module.ImportReference(typeof(MethodBase).GetMethod(nameof(MethodBase.GetMethodFromHandle), [typeof(RuntimeMethodHandle), typeof(RuntimeTypeHandle)])));
        il.Emit(OpCodes.Ldstr, caller);
        il.Emit(OpCodes.Ldc_I4, watched.Parameters.Count);
        il.Emit(OpCodes.Newarr, _module.TypeSystem.Object);
        foreach (var parameter in watched.Parameters)
        {
            il.Emit(OpCodes.Dup);
            il.Emit(OpCodes.Ldc_I4, parameter.Index);
            if (IsSpan(parameter.ParameterType))
            {
                il.Emit(OpCodes.Ldarga, parameter);
                il.Emit(OpCodes.Call, ToArray((GenericInstanceType)parameter.ParameterType));
            }
            else
            {
                il.Emit(OpCodes.Ldarg, parameter);
                il.Emit(OpCodes.Box, parameter.ParameterType); // of a reference it changes nothing
            }

            il.Emit(OpCodes.Stelem_Ref);
        }

        il.Emit(OpCodes.Ldloc, result);
        il.Emit(OpCodes.Box, result.VariableType);
        il.Emit(OpCodes.Callvirt, _module.ImportReference(typeof(Action<MethodBase, string, object[], object>).GetMethod("Invoke")));
        il.Append(end);
        if (!isVoid)
            il.Emit(OpCodes.Ldloc, result);
        il.Emit(OpCodes.Ret);
    }

    // A type without the parameters of the generic type or method that it is written in; null: it cannot be handed on as an object.
    private static TypeReference? Closed(TypeReference type, MethodReference within)
    {
        switch (type)
        {
            case GenericParameter parameter:
                var arguments = parameter.Type == GenericParameterType.Method ? (within as GenericInstanceMethod)?.GenericArguments : (within.DeclaringType as GenericInstanceType)?.GenericArguments;
                return arguments?[parameter.Position] is { ContainsGenericParameter: false } argument ? argument : null;
            case ArrayType array:
                return Closed(array.ElementType, within) is { } element ? new ArrayType(element, array.Rank) : null;
            case GenericInstanceType generic:
                var closed = new GenericInstanceType(generic.ElementType) { IsValueType = generic.IsValueType };
                foreach (var given in generic.GenericArguments)
                {
                    if (Closed(given, within) is not { } one)
                        return null;
                    closed.GenericArguments.Add(one);
                }

                return closed;
            default:
                return type is TypeSpecification or { ContainsGenericParameter: true } ? null : type;
        }
    }

    private static bool HasTensor(TypeReference type) => type switch
    {
        GenericInstanceType generic => generic.GenericArguments.Any(HasTensor),
        ArrayType array => HasTensor(array.ElementType),
        _ => type.FullName is "TorchSharp.torch/Tensor" or "TorchSharp.Modules.Parameter",
    };

    private static bool IsSpan(TypeReference type) => type is GenericInstanceType && type.GetElementType().FullName is "System.Span`1" or "System.ReadOnlySpan`1";

    private static MethodReference ToArray(GenericInstanceType span)
    {
        if (span.ElementType.GenericParameters.Count == 0)
            span.ElementType.GenericParameters.Add(new GenericParameter(span.ElementType));
        return new MethodReference("ToArray", new ArrayType(span.ElementType.GenericParameters[0]), span) { HasThis = true };
    }
}

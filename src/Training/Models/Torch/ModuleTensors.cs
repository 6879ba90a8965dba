using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>The tensors and layers of a module by what becomes of them in a job.</summary>
internal sealed unsafe class ModuleTensors
{
    private readonly Dictionary<Tensor, string> _names = new(ReferenceEqualityComparer.Instance);

    /// <param name="module">The module.</param>
    /// <param name="keepsFrozen">Whether frozen parameters are the job's too, beside the running statistics, and their normalisations compute with those; else they stay the module's own.</param>
    /// <exception cref="UserModuleException">It has tensors that no job can train.</exception>
    public ModuleTensors(nn.Module module, bool keepsFrozen = false)
    {
        var known = new Dictionary<nint, string>();
        foreach (var (name, parameter) in module.named_parameters())
        {
            if (parameter.dtype != ScalarType.Float32)
                throw new UserModuleException($"Parameter \"{name}\" of module \"{NameOf(module)}\" is {parameter.dtype}, expected Float32, in which jobs train. Leave the module's type as it is.");
            if (!parameter.requires_grad)
            {
                if (keepsFrozen)
                    AddBuffer(name, parameter);
                continue;
            }

            var memory = (nint)TorchMemory.Data(parameter);
            if (known.TryAdd(memory, name))
                Trained.Add((name, parameter));
            _names[parameter] = known[memory];
        }

        foreach (var (name, buffer) in module.named_buffers())
        {
            if (buffer.dtype != ScalarType.Float32 || _names.ContainsKey(buffer))
                continue; // counters and indices stay the module's own
            AddBuffer(name, buffer);
        }

        foreach (var layer in Layers(module))
        {
            if (layer is TorchSharp.Modules.BatchNorm norm)
                (keepsFrozen && norm.weight is { requires_grad: false } ? FrozenNorms : BatchNorms).Add(norm);
            else if (layer is TorchSharp.Modules.Dropout dropout)
                Dropouts.Add(dropout);
        }
    }

    /// <summary>Parameters that are trained, tied ones once.</summary>
    public List<(string Name, TorchSharp.Modules.Parameter Parameter)> Trained { get; } = [];

    /// <summary>Running statistics and constants, of float32.</summary>
    public List<(string Name, Tensor Buffer)> Buffers { get; } = [];

    public List<TorchSharp.Modules.BatchNorm> BatchNorms { get; } = [];

    /// <summary>Those whose running statistics stay as they are, and are what they compute with in training too.</summary>
    public List<TorchSharp.Modules.BatchNorm> FrozenNorms { get; } = [];

    public List<TorchSharp.Modules.Dropout> Dropouts { get; } = [];

    /// <summary>The name under which a job keeps a tensor; null: it stays the module's own.</summary>
    public string? NameOf(Tensor tensor) => _names.GetValueOrDefault(tensor);

    /// <summary>Whether a buffer never changes.</summary>
    public static bool IsFrozen(Tensor buffer) => buffer is TorchSharp.Modules.Parameter;

    private void AddBuffer(string name, Tensor buffer)
    {
        Buffers.Add((name, buffer));
        _names[buffer] = name;
    }

    /// <summary>The module and all in it, each once.</summary>
    public static IEnumerable<nn.Module> Layers(nn.Module module)
    {
        var seen = new HashSet<nn.Module>(ReferenceEqualityComparer.Instance);
        return Walk(module);

        IEnumerable<nn.Module> Walk(nn.Module layer) => seen.Add(layer) ? layer.named_children().SelectMany(c => Walk(c.module)).Prepend(layer) : [];
    }

    /// <summary>What people call a module: its class, or the file that it comes from.</summary>
    public static string NameOf(nn.Module module) => module is ScriptNet script ? script.File : module.GetType().Name;

    /// <summary>A layer's name in a module: its path, as "blocks.0.conv1".</summary>
    public static string NameOf(nn.Module module, nn.Module layer)
    {
        return Path(module, "") ?? layer.GetType().Name;

        string? Path(nn.Module within, string name) => ReferenceEquals(within, layer) ? name
            : within.named_children().Select(c => Path(c.module, name.Length == 0 ? c.name : $"{name}.{c.name}")).FirstOrDefault(p => p is not null);
    }
}

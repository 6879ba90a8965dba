using MLDistributed.Protocol.Weights;
using MLDistributed.Training.Native;
using MLDistributed.Training.Weights;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>The weights that a module of a user's own starts from, by the names of its tensors.</summary>
internal static unsafe class ModuleStart
{
    /// <summary>Looks whether a file fits a module, and reads what is frozen: that has no place in the job's memory.</summary>
    /// <param name="source">The module, before it has the job's memory.</param>
    /// <param name="path">A safetensors file.</param>
    /// <exception cref="UserModuleException">It does not fit; names the tensors.</exception>
    /// <exception cref="FormatException">It is no such file, or holds numbers that are not finite.</exception>
    public static void Read(TorchModuleSource source, string path)
    {
        using var file = new SafetensorsReader(path);
        var frozen = source.Module.named_parameters().Where(p => !p.parameter.requires_grad).DistinctBy(p => (nint)TorchMemory.Data(p.parameter)).ToList();
        var statistics = source.Tensors.BatchNorms.SelectMany(n => new[] { n.running_mean, n.running_var }).OfType<Tensor>().Select(source.Tensors.NameOf).ToHashSet();
        var wanted = source.Layout.Parameters.Select(p => new ModuleTensor(p.Name, p.Shape))
            .Concat(source.Layout.Buffers.Select(b => new ModuleTensor(b.Name, b.Shape, MayBeMissing: !statistics.Contains(b.Name)))) // constants are those of the constructor
            .Concat(frozen.Select(p => new ModuleTensor(p.name, p.parameter.shape)));
        var misfits = PretrainedFit.Misfits(wanted, name => file.Has(name) ? file.Shape(name) : null);
        if (misfits.Count > 0)
            throw new UserModuleException($"StartFrom does not fit module \"{ModuleTensors.NameOf(source.Module)}\". {string.Join(' ', misfits)} Start from a model of a module with the same parameters, whose graph has them as they are.");
        using var still = no_grad();
        foreach (var (name, parameter) in frozen)
        {
            var values = new float[parameter.numel()];
            PretrainedTensors.Read(file, name, values);
            fixed (float* from = values)
            {
                using var read = TorchMemory.Wrap(from, values.Length);
                using var shaped = read.view(parameter.shape);
                parameter.copy_(shaped);
            }
        }
    }
}

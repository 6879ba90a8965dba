using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a trainer trains: a kind of module as the client asks for it.</summary>
internal abstract class NetworkModule
{
    /// <summary>Code that the workers need for it; null: none but their own.</summary>
    public virtual JobFile? Code => null;

    /// <summary>The weights of others that training starts from, a safetensors file by the names of the module's tensors; null: none.</summary>
    public virtual JobFile? Weights => null;

    /// <summary>Whether it can be trained on sparse features.</summary>
    protected virtual bool TakesSparse => false;

    /// <summary>How features go in, as far as the options tell.</summary>
    /// <param name="options">The trainer's.</param>
    /// <param name="start">What the training starts from.</param>
    public FeatureEncoding FormOf(NeuralNetworkOptions options, StartingNetwork? start)
    {
        if (options.FeatureEncoding != FeatureEncoding.Auto)
            return options.FeatureEncoding;
        var needsDense = !TakesSparse || options is { Reproducibility: Reproducibility.BitExact } or { WeightAveraging: not null } or { Placement: not RankPlacement.OneWorker } or { Device: TrainingDevice.Cuda };
        return needsDense ? FeatureEncoding.Dense
            : start?.Spec.Module?.Mlp is not { } known ? FeatureEncoding.Auto
            : known.Sparse is null ? FeatureEncoding.Dense : FeatureEncoding.Sparse;
    }

    /// <summary>Makes a job one of sparse features; again, too.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="options">The trainer's.</param>
    /// <param name="meanNonZeros">Of a row.</param>
    public virtual void MakeSparse(JobSpec spec, NeuralNetworkOptions options, double meanNonZeros)
    {
    }

    /// <summary>The module of a job.</summary>
    /// <param name="options">The trainer's.</param>
    /// <param name="inputs">Features of a row.</param>
    /// <param name="outputs">Classes, or 1.</param>
    public abstract ModuleSpec ToSpec(NeuralNetworkOptions options, int inputs, int outputs);

    /// <summary>What is wrong with options that only some kinds of modules have, each a sentence.</summary>
    public abstract IEnumerable<string> Errors(NeuralNetworkOptions options);

    /// <summary>Tells the module what the features were found to be, where they are scaled.</summary>
    public virtual void Describe(JobSpec spec, NeuralNetworkOptions options, IFeatureStatistics features)
    {
    }

    /// <summary>Tells the module what the labels were found to be; of classes only.</summary>
    public virtual void Describe(ModuleSpec spec, LabelStatistics labels)
    {
    }
}

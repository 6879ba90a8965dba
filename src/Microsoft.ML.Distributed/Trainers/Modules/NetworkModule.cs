using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a trainer trains: a kind of module as the client asks for it.</summary>
internal abstract class NetworkModule
{
    /// <summary>Code that the workers need for it; null: none but their own.</summary>
    public virtual JobFile? Code => null;

    /// <summary>The weights of others that training starts from, a safetensors file by the names of the module's tensors; null: none.</summary>
    public virtual JobFile? Weights => null;

    /// <summary>The module of a job.</summary>
    /// <param name="options">The trainer's.</param>
    /// <param name="inputs">Features of a row.</param>
    /// <param name="outputs">Classes, or 1.</param>
    public abstract ModuleSpec ToSpec(NeuralNetworkOptions options, int inputs, int outputs);

    /// <summary>What is wrong with options that only some kinds of modules have, each a sentence.</summary>
    public abstract IEnumerable<string> Errors(NeuralNetworkOptions options);

    /// <summary>Tells the module what the labels were found to be; of classes only.</summary>
    public virtual void Describe(ModuleSpec spec, LabelStatistics labels)
    {
    }
}

using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A TorchSharp module of the user's own. It is made on the workers, of code that travels with the job.</summary>
/// <param name="module">Names the module and holds its argument; sizes and code are filled in for a job.</param>
/// <param name="pack">Packs its assemblies: once, when they are needed.</param>
internal sealed class OwnModule(TorchModuleSpec module, Func<byte[]> pack) : NetworkModule
{
    private readonly Lazy<JobFile> _code = new(() => new JobFile(pack()));

    /// <summary>What its class is called.</summary>
    public string Name => module.Type.Split('.', '+')[^1];

    public override JobFile? Code => _code.Value;

    /// <summary>The same with columns as its inputs, and as the labels of its loss and its outputs where these are columns too.</summary>
    public OwnModule WithInputs(IEnumerable<InputColumn> inputs, IEnumerable<InputColumn>? labels = null, IEnumerable<ModuleOutput>? outputs = null)
    {
        var spec = module.Clone();
        spec.Inputs.AddRange(inputs.Select(c => c.ToSpec()));
        spec.Labels.AddRange(labels?.Select(c => c.ToSpec()) ?? []);
        spec.Outputs.AddRange(outputs ?? []);
        return new OwnModule(spec, pack);
    }

    public override ModuleSpec ToSpec(NeuralNetworkOptions options, int inputs, int outputs)
    {
        var spec = module.Clone();
        (spec.InputSize, spec.OutputSize, spec.PackageId) = (inputs, outputs, _code.Value.Id.Text);
        return new ModuleSpec { Torch = spec };
    }

    // Ids are no quantities, and labels are what the module is to put out.
    public override void Describe(JobSpec spec, NeuralNetworkOptions options, IFeatureStatistics features)
    {
        foreach (var slot in spec.Module.UnscaledSlots())
            (spec.Data.Features.Mean[slot], spec.Data.Features.Scale[slot]) = (0, 1);
    }

    // What a module computes is its own: an option without effect would mislead.
    public override IEnumerable<string> Errors(NeuralNetworkOptions options)
    {
        if (options.HiddenLayers is not [256, 128])
            yield return "HiddenLayers is set beside a module of your own, expected it left alone: it is for the built-in network.";
        if (options.FeatureEncoding == FeatureEncoding.Sparse)
            yield return "FeatureEncoding is Sparse beside a module of your own, expected Auto or Dense: it takes all features of a row.";
        if (options.Activation != NetworkActivation.Relu)
            yield return $"Activation is {options.Activation} beside a module of your own, expected it left alone: it is for the built-in network.";
        if (options.Dropout != 0)
            yield return $"Dropout is {options.Dropout} beside a module of your own, expected 0. Add nn.Dropout to the module.";
        if (options.Normalization != NetworkNormalization.None)
            yield return $"Normalization is {options.Normalization} beside a module of your own, expected None. Add nn.BatchNorm1d or nn.LayerNorm to the module.";
    }
}

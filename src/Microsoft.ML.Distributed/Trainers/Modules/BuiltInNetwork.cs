using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The multi-layer perceptron that the options describe.</summary>
internal sealed class BuiltInNetwork : NetworkModule
{
    public static BuiltInNetwork Instance { get; } = new();

    public override ModuleSpec ToSpec(NeuralNetworkOptions options, int inputs, int outputs) => new()
    {
        Mlp = new MlpSpec
        {
            InputSize = inputs,
            OutputSize = outputs,
            HiddenSizes = { options.HiddenLayers ?? [] },
            Activation = (Activation)options.Activation,
            Dropout = options.Dropout,
            Normalization = (LayerNormalization)options.Normalization,
        },
    };

    public override IEnumerable<string> Errors(NeuralNetworkOptions options)
    {
        if (options.HiddenLayers is null)
            yield return "HiddenLayers is null, expected sizes, or an empty list for a linear model.";
    }

    public override void Describe(ModuleSpec spec, LabelStatistics labels)
    {
        spec.Mlp.OutputBias.Clear(); // of data that was lost and is sent again
        spec.Mlp.OutputBias.AddRange(labels.ToOutputBias());
    }
}

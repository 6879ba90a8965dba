using System.Numerics;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The multi-layer perceptron that the options describe.</summary>
/// <param name="categories">The columns whose ids are a row's last inputs.</param>
internal sealed class BuiltInNetwork(params IReadOnlyList<InputColumn> categories) : NetworkModule
{
    // 64 MiB: as many again for gradients and each moment.
    private const int MostSparseWeights = 1 << 24;

    public static BuiltInNetwork Instance { get; } = new();

    protected override bool TakesSparse => categories.Count == 0;

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
            Categories = { categories.Select(c => new CategorySpec { KeyCount = c.KeyCount, Width = AutomaticOptions.CategoryWidth(c.KeyCount) }) },
        },
    };

    public override IEnumerable<string> Errors(NeuralNetworkOptions options)
    {
        if (options.HiddenLayers is null)
            yield return "HiddenLayers is null, expected sizes, or an empty list for a linear model.";
        if (categories.Count > 0 && options.FeatureEncoding == FeatureEncoding.Sparse)
            yield return "FeatureEncoding is Sparse beside categorical columns, expected Auto or Dense. Encode the categories by OneHotHashEncoding into the features column for sparse ones.";
    }

    public override void MakeSparse(JobSpec spec, NeuralNetworkOptions options, double meanNonZeros)
    {
        var mlp = spec.Module.Mlp;
        mlp.Sparse = new SparseInputSpec { MeanNonZeros = meanNonZeros };
        if (spec.Resources.Device == DeviceKind.Any)
            spec.Resources.Device = DeviceKind.Cpu;
        if (!options.HasOwnLayers)
            mlp.HiddenSizes[0] = Math.Min(options.HiddenLayers[0], (int)BitOperations.RoundUpToPowerOf2((uint)(MostSparseWeights / mlp.InputSize) + 1) / 2);
    }

    // A smooth function bends to the steps of such features slowly; a linear model is to stay one.
    public override void Describe(JobSpec spec, NeuralNetworkOptions options, IFeatureStatistics features)
    {
        var mlp = spec.Module.Mlp;
        foreach (var slot in mlp.UnscaledSlots())
            (spec.Data.Features.Mean[slot], spec.Data.Features.Scale[slot]) = (0, 1);
        mlp.Steps = null; // of data that was lost and is sent again
        if (!options.EncodeLevels || features.Levels is null || mlp.HiddenSizes.Count == 0 || spec.Data.RowCount < AutomaticOptions.RowsToEncodeLevels)
            return;
        var steps = new FeatureStepsSpec();
        foreach (var (slot, levels) in Levels(features.Levels, mlp.NumberSize))
            Add(steps, slot, levels);
        if (steps.Slot.Count > 0)
            mlp.Steps = steps;
    }

    public override void Describe(ModuleSpec spec, LabelStatistics labels)
    {
        spec.Mlp.OutputBias.Clear(); // of data that was lost and is sent again
        spec.Mlp.OutputBias.AddRange(labels.ToOutputBias());
    }

    // Each value of features that have few; of the others as many parts as there is room for, where that is more than one.
    private static IEnumerable<(int Slot, IReadOnlyList<float> Levels)> Levels(FeatureLevels features, int numbers)
    {
        var (few, many) = (features.Few.Where(f => f.Slot < numbers).ToList(), features.Many.Where(slot => slot < numbers).ToList());
        var room = AutomaticOptions.MostSteps - few.Sum(f => f.Levels.Count - 1);
        if (room < 0)
            return [];
        var parts = Math.Min(AutomaticOptions.MostParts, room / Math.Max(1, many.Count));
        return parts < 2 ? few : few.Concat(many.Select(slot => (slot, features.Quantiles(slot, parts))));
    }

    private static void Add(FeatureStepsSpec steps, int slot, IReadOnlyList<float> levels)
    {
        for (var i = 0; i + 1 < levels.Count; i++)
        {
            var scale = 1 / (levels[i + 1] - levels[i]);
            if (!float.IsFinite(scale) || scale <= 0 || !float.IsNormal(scale))
                continue;
            steps.Slot.Add(slot);
            steps.Start.Add(levels[i]);
            steps.Scale.Add(scale);
        }
    }
}

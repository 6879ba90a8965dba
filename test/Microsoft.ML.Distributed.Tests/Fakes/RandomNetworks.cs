using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Networks of all kinds with random weights.</summary>
internal static class RandomNetworks
{
    public static JobSpec Spec(Random random, MlTask task, int inputs, int outputs, int[] hidden, Activation activation, LayerNormalization normalization, bool isScaled)
    {
        var spec = new JobSpec
        {
            Task = task,
            Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = inputs, OutputSize = outputs, HiddenSizes = { hidden }, Activation = activation, Normalization = normalization } },
            Data = new DataSpec(),
        };
        if (isScaled)
            spec.Data.Features = new FeatureScaling { Mean = { Values(random, inputs, 3) }, Scale = { Values(random, inputs, 1).Select((s, i) => i == 1 ? 0 : Math.Abs(s) + 0.1f) } };
        if (task == MlTask.Regression && isScaled)
            spec.Data.Label = new LabelScaling { Mean = 5, Scale = 0.25f };
        return spec;
    }

    public static Dictionary<string, float[]> Weights(Random random, MlpSpec mlp)
    {
        var tensors = new Dictionary<string, float[]>();
        var sizes = new[] { (int)mlp.EncodedSize }.Concat(mlp.HiddenSizes).Append(mlp.OutputSize).ToArray();
        for (var i = 0; i < mlp.Categories.Count; i++)
            tensors[CategorySpec.TableName(i)] = Values(random, mlp.Categories[i].Rows * mlp.Categories[i].Width, 1);
        for (var i = 0; i + 1 < sizes.Length; i++)
        {
            tensors[$"layers.{i}.weight"] = Values(random, sizes[i] * sizes[i + 1], 1 / MathF.Sqrt(sizes[i]));
            tensors[$"layers.{i}.bias"] = Values(random, sizes[i + 1], 0.5f);
            if (i + 2 == sizes.Length || mlp.Normalization == LayerNormalization.None)
                continue;
            tensors[$"norms.{i}.weight"] = Values(random, sizes[i + 1], 1);
            tensors[$"norms.{i}.bias"] = Values(random, sizes[i + 1], 1);
            if (mlp.Normalization != LayerNormalization.Batch)
                continue;
            tensors[$"norms.{i}.running_mean"] = Values(random, sizes[i + 1], 1);
            tensors[$"norms.{i}.running_var"] = [.. Values(random, sizes[i + 1], 1).Select(v => Math.Abs(v) + 0.01f)];
        }

        return tensors;
    }

    public static float[] Values(Random random, int count, float scale)
    {
        var values = new float[count];
        foreach (ref var value in values.AsSpan())
            value = ((2 * random.NextSingle()) - 1) * scale;
        return values;
    }
}

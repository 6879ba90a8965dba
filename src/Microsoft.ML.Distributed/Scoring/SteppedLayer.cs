using System.Numerics.Tensors;

namespace Microsoft.ML.Distributed;

/// <summary>
/// The first layer of a network whose features go in value by value too. Of a feature's steps those below its value are all 1:
/// the sum of their weights is made once, and a row costs one addition a feature, and the one step that it is within.
/// </summary>
internal sealed class SteppedLayer : DenseLayer
{
    private readonly float[] _mean;
    private readonly FeatureSteps[] _features;

    /// <param name="layer">outputs x (features + steps)</param>
    /// <param name="slots">Of which feature each step is, clip((x - start) * scale, 0, 1).</param>
    /// <param name="starts">As many.</param>
    /// <param name="scales">As many, above 0.</param>
    /// <param name="mean">What a missing feature is.</param>
    /// <param name="inputs">How many inputs the steps are behind.</param>
    public SteppedLayer(DenseLayer layer, IReadOnlyList<int> slots, float[] starts, float[] scales, float[] mean, int inputs) : base(layer, inputs)
    {
        _mean = mean;
        _features =
        [
            .. from step in Enumerable.Range(0, slots.Count)
               group step by slots[step] into own
               let rising = own.OrderBy(step => starts[step]).ToArray()
               select new FeatureSteps(own.Key, Array.ConvertAll(rising, i => starts[i]), Array.ConvertAll(rising, i => scales[i]), layer, Array.ConvertAll(rising, i => inputs + i)),
        ];
    }

    /// <summary>Applies it to a row as it is and as what is before the steps.</summary>
    public void Apply(ReadOnlySpan<float> features, ReadOnlySpan<float> inputs, Span<float> output)
    {
        Multiply(inputs, output);
        foreach (var feature in _features)
        {
            var x = features[feature.Slot];
            feature.Add(float.IsNaN(x) ? _mean[feature.Slot] : x, output);
        }

        Follow(output);
    }

    /// <summary>One feature's, in rising order.</summary>
    private sealed class FeatureSteps
    {
        private readonly float[] _starts;
        private readonly float[] _scales;
        private readonly float[] _weights; // steps x outputs
        private readonly float[] _sums; // as above: of a step's weights and those of all below

        public FeatureSteps(int slot, float[] starts, float[] scales, DenseLayer layer, int[] inputs)
        {
            (Slot, _starts, _scales) = (slot, starts, scales);
            (_weights, _sums) = (new float[inputs.Length * layer.Outputs], new float[inputs.Length * layer.Outputs]);
            for (var output = 0; output < layer.Outputs; output++)
            {
                var sum = 0.0;
                for (var i = 0; i < inputs.Length; i++)
                {
                    var (weight, place) = (layer.WeightOf(inputs[i], output), i * layer.Outputs + output);
                    _weights[place] = weight;
                    _sums[place] = (float)(sum += weight);
                }
            }
        }

        public int Slot { get; }

        public void Add(float x, Span<float> output)
        {
            var step = 0;
            while (step < _starts.Length && Height(step, x) >= 1)
                step++;
            if (step > 0)
                TensorPrimitives.Add(output, _sums.AsSpan((step - 1) * output.Length, output.Length), output);
            // Mostly one: rounding may have the next begin before one ends.
            for (; step < _starts.Length && x > _starts[step]; step++)
                TensorPrimitives.MultiplyAdd(_weights.AsSpan(step * output.Length, output.Length), Math.Min(1, Height(step, x)), output, output);
        }

        private float Height(int step, float x) => (x - _starts[step]) * _scales[step];
    }
}

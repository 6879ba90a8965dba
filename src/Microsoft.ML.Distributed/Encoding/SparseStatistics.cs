using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a pass over the training rows tells of features.</summary>
internal interface IFeatureStatistics
{
    /// <summary>What brings each slot to the same size. Constant and empty slots, and those that are <see cref="OutOfRange"/>, have scale 0.</summary>
    FeatureScaling ToScaling();

    /// <summary>The slots that are no constants, and vary by less or more than single precision can compute with.</summary>
    IEnumerable<int> OutOfRange();

    /// <summary>A slot's mean; 0 of sparse features, which are not centred.</summary>
    double Mean(int slot);

    /// <summary>Where the values of features lie; null of sparse ones.</summary>
    FeatureLevels? Levels => null;

    /// <summary>Whether a slot has any value; of sparse features one that is not 0.</summary>
    bool HasValues(int slot);

    /// <summary>How far a slot is from its mean, of sparse features from 0: as a root of a mean of squares.</summary>
    double Deviation(int slot);
}

/// <summary>
/// Of sparse features: the root of the mean square of each slot's non-zero values. They are not centred, which would make
/// every 0 a number, and the zeros do not count, or rare slots would be scaled up by how rare they are.
/// </summary>
internal sealed class SparseStatistics(int size) : IFeatureStatistics
{
    private readonly double[] _squares = new double[size];
    private readonly int[] _counts = new int[size];

    /// <summary>Adds values that are not zero.</summary>
    public void Add(ReadOnlySpan<int> slots, ReadOnlySpan<float> values)
    {
        for (var i = 0; i < slots.Length; i++)
        {
            _squares[slots[i]] += (double)values[i] * values[i];
            _counts[slots[i]]++;
        }
    }

    public FeatureScaling ToScaling()
    {
        var scaling = new FeatureScaling();
        scaling.Scale.Capacity = size;
        for (var i = 0; i < size; i++)
            scaling.Scale.Add(ScaleRange.Holds(Deviation(i)) ? (float)(1 / Deviation(i)) : 0);
        return scaling;
    }

    public IEnumerable<int> OutOfRange() => Enumerable.Range(0, size).Where(i => _counts[i] > 0 && !ScaleRange.Holds(Deviation(i)));

    public bool HasValues(int slot) => _counts[slot] > 0;

    public double Mean(int slot) => 0;

    public double Deviation(int slot) => _counts[slot] == 0 ? 0 : Math.Sqrt(_squares[slot] / _counts[slot]);
}

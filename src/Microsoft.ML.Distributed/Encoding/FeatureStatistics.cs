using System.Numerics;
using System.Runtime.InteropServices;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Mean and standard deviation of every slot, in double and without missing values (NaN), a block of rows at a time: two
/// passes over the block while it is in the cache, then merged into the whole (Chan, Golub and LeVeque, 1979).
/// </summary>
internal sealed class FeatureStatistics(int size) : IFeatureStatistics
{
    private readonly double[] _count = new double[size];
    private readonly double[] _mean = new double[size];
    private readonly double[] _squares = new double[size];
    private readonly double[] _blockCount = new double[size];
    private readonly double[] _blockMean = new double[size];
    private readonly double[] _blockSquares = new double[size];
    private readonly double[] _row = new double[size];

    /// <summary>Where the values of features lie.</summary>
    public FeatureLevels? Levels { get; init; }

    /// <summary>Adds rows, one after another in memory.</summary>
    /// <param name="rows">Their values.</param>
    /// <param name="labels">Their labels.</param>
    public void Add(ReadOnlySpan<float> rows, ReadOnlySpan<float> labels)
    {
        Array.Clear(_blockCount);
        Array.Clear(_blockMean);
        Array.Clear(_blockSquares);
        for (var start = 0; start < rows.Length; start += size)
            AddSums(Widen(rows.Slice(start, size)));
        for (var i = 0; i < size; i++)
            _blockMean[i] = _blockCount[i] == 0 ? 0 : _blockMean[i] / _blockCount[i];
        for (var start = 0; start < rows.Length; start += size)
            AddSquares(Widen(rows.Slice(start, size)));
        Merge();
        Levels?.Add(rows, labels);
    }

    /// <summary>x' = (x - mean) * scale gives each slot mean 0 and deviation 1.</summary>
    public FeatureScaling ToScaling()
    {
        var scaling = new FeatureScaling();
        for (var i = 0; i < size; i++)
        {
            var (mean, deviation) = ((float)_mean[i], Deviation(i));
            // What a float cannot tell from its mean is a constant.
            var isConstant = deviation <= Math.Abs(_mean[i]) * 1e-7 || !ScaleRange.Holds(deviation);
            scaling.Mean.Add(mean);
            scaling.Scale.Add(isConstant ? 0 : (float)(1 / deviation));
        }

        return scaling;
    }

    public IEnumerable<int> OutOfRange() => Enumerable.Range(0, size).Where(i => Deviation(i) is var deviation && deviation > Math.Abs(_mean[i]) * 1e-7 && !ScaleRange.Holds(deviation));

    public bool HasValues(int slot) => _count[slot] > 0;

    public double Mean(int slot) => _mean[slot];

    public double Deviation(int slot) => _count[slot] == 0 ? 0 : Math.Sqrt(_squares[slot] / _count[slot]);

    private ReadOnlySpan<Vector<double>> Widen(ReadOnlySpan<float> row)
    {
        System.Numerics.Tensors.TensorPrimitives.ConvertTruncating<float, double>(row, _row);
        return MemoryMarshal.Cast<double, Vector<double>>(_row);
    }

    private void AddSums(ReadOnlySpan<Vector<double>> row)
    {
        var counts = MemoryMarshal.Cast<double, Vector<double>>(_blockCount.AsSpan());
        var sums = MemoryMarshal.Cast<double, Vector<double>>(_blockMean.AsSpan());
        for (var i = 0; i < row.Length; i++)
        {
            var present = Vector.Equals(row[i], row[i]);
            counts[i] += Vector.ConditionalSelect(present, Vector<double>.One, Vector<double>.Zero);
            sums[i] += Vector.ConditionalSelect(present, row[i], Vector<double>.Zero);
        }

        for (var i = row.Length * Vector<double>.Count; i < size; i++)
        {
            if (double.IsNaN(_row[i]))
                continue;
            _blockCount[i]++;
            _blockMean[i] += _row[i];
        }
    }

    private void AddSquares(ReadOnlySpan<Vector<double>> row)
    {
        var means = MemoryMarshal.Cast<double, Vector<double>>(_blockMean.AsSpan());
        var squares = MemoryMarshal.Cast<double, Vector<double>>(_blockSquares.AsSpan());
        for (var i = 0; i < row.Length; i++)
        {
            var distance = row[i] - means[i];
            squares[i] += Vector.ConditionalSelect(Vector.Equals(distance, distance), distance * distance, Vector<double>.Zero);
        }

        for (var i = row.Length * Vector<double>.Count; i < size; i++)
        {
            var distance = _row[i] - _blockMean[i];
            if (!double.IsNaN(distance))
                _blockSquares[i] += distance * distance;
        }
    }

    private void Merge()
    {
        for (var i = 0; i < size; i++)
        {
            if (_blockCount[i] == 0)
                continue;
            var count = _count[i] + _blockCount[i];
            var distance = _blockMean[i] - _mean[i];
            _mean[i] += distance * (_blockCount[i] / count);
            _squares[i] += _blockSquares[i] + (distance * distance * (_count[i] / count) * _blockCount[i]);
            _count[i] = count;
        }
    }
}

using System.Numerics;
using System.Runtime.CompilerServices;
using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Data;

/// <summary>
/// Loads a part of a global batch: gathers its rows from the mapped file straight into the batch's memory,
/// standardising on the way. A part may have no rows of a last, short batch.
/// </summary>
internal sealed unsafe class BatchFeed : IDisposable
{
    private readonly DatasetFile _file;
    private readonly JobSpec _spec;
    private readonly Device _device;
    private readonly float[] _mean;
    private readonly float[] _scale;
    private readonly float[] _classWeights;
    private readonly double _weightScale;
    private readonly int _maxRows;
    private readonly int _classCount;
    private readonly Tensor _features;
    private readonly Tensor _labels;
    private readonly Tensor? _weights;
    private readonly ImageFeed? _images;
    private readonly MixedLabels? _mixed;
    private readonly BatchTransfer? _transfer;
    private readonly float* _featureMemory;
    private readonly RowGroups? _groups;
    private readonly SparseRows? _sparse;
    private readonly CategorySpec[] _categories;
    private readonly int[] _stepSlots;
    private readonly float[] _stepStart;
    private readonly float[] _stepScale;
    private readonly long* _classMemory;
    private readonly float* _valueMemory;
    private readonly float* _weightMemory;
    private BatchRequest _rows;

    /// <param name="file">The rows.</param>
    /// <param name="spec">The job.</param>
    /// <param name="weightScale">Times each row's weight; 0: 1.</param>
    /// <param name="maxRows">The most rows of a part.</param>
    /// <param name="device">Where the batch goes.</param>
    /// <param name="transfer">Makes the way there of the batch's tensors; null: there is none, or as libtorch copies.</param>
    /// <param name="groups">Those of the file's rows, which requests count then; null: they count rows.</param>
    public BatchFeed(DatasetFile file, JobSpec spec, double weightScale, int maxRows, Device device, Func<IEnumerable<Tensor>, BatchTransfer?>? transfer = null, RowGroups? groups = null)
    {
        (_file, _spec, _maxRows, _device, _groups) = (file, spec, maxRows, device, groups);
        _weightScale = weightScale == 0 ? 1 : weightScale;
        _mean = [.. spec.Data.Features?.Mean ?? []];
        _scale = [.. spec.Data.Features?.Scale ?? []];
        _classWeights = [.. spec.ClassWeights];
        _classCount = spec.Module?.Kind?.OutputSize ?? 0;
        _categories = [.. spec.Module?.Mlp?.Categories ?? []];
        _stepSlots = [.. spec.Module?.Mlp?.Steps?.Slot ?? []];
        _stepStart = [.. spec.Module?.Mlp?.Steps?.Start ?? []];
        _stepScale = [.. spec.Module?.Mlp?.Steps?.Scale ?? []];
        _sparse = file.IsSparse ? new SparseRows(maxRows) : null;
        _features = empty([maxRows, file.IsSparse ? 0 : file.FeatureSize + _stepSlots.Length], ScalarType.Float32).DetachFromDisposeScope();
        _labels = empty([maxRows], spec.Task == MlTask.Multiclass ? ScalarType.Int64 : ScalarType.Float32).DetachFromDisposeScope();
        _featureMemory = (float*)TorchMemory.Data(_features);
        _classMemory = (long*)TorchMemory.Data(_labels);
        _valueMemory = (float*)TorchMemory.Data(_labels);
        if (spec.Module?.Image is { } image)
            _images = new ImageFeed(image, file, spec.Seed);
        if (_images is { Mixes: true })
            _mixed = new MixedLabels(maxRows, _labels.dtype);
        if (file.HasWeights || _classWeights.Length > 0 || _mixed is not null)
        {
            _weights = empty([maxRows], ScalarType.Float32).DetachFromDisposeScope();
            _weightMemory = (float*)TorchMemory.Data(_weights);
        }

        _transfer = transfer?.Invoke([.. new[] { _features, _labels, _weights, _mixed?.Labels, _mixed?.Weights }.OfType<Tensor>()]);
    }

    /// <summary>Loads some rows of a global batch.</summary>
    public Batch Load(BatchRequest request)
    {
        Release();
        return View(Fill(request));
    }

    /// <summary>Gathers the rows; from any thread.</summary>
    /// <returns>The sum of their weights.</returns>
    public double Fill(BatchRequest request)
    {
        // Each group counts as one, whatever its rows.
        var (weightSum, weightOfRow) = _groups is null ? (0.0, 1.0) : (request.Rows.Count, 0.0);
        request = _rows = _groups?.RowsOf(request) ?? request;
        _transfer?.AwaitHost();
        _sparse?.Clear();
        for (var i = 0; i < request.Rows.Count; i++)
        {
            var row = request.RowAt(request.Start + request.Rows.Start + i);
            TakeFeatures(row, i, request);
            FillLabel(row, i, _classMemory, _valueMemory);
            if (_weightMemory != null)
                _weightMemory[i] = (float)Weight(row, row);
            if (_mixed is not null && request.Epoch is { } epoch)
                weightSum += Mix(row, i, request, epoch);
            weightSum += _weightMemory != null ? _weightMemory[i] : weightOfRow;
        }

        _transfer?.Send(request.Rows.Count);
        return weightSum;
    }

    /// <summary>What was gathered, as tensors on the device.</summary>
    public Batch View(double weightSum)
    {
        var request = _rows;
        _transfer?.Await();
        return new Batch(Part(_features), Part(_labels), _weights is null ? null : Part(_weights), weightSum, request.GlobalRows, request.Rows,
            _mixed is null || request.Epoch is null ? null : Part(_mixed.Labels), _mixed is null || request.Epoch is null ? null : Part(_mixed.Weights)) { Sparse = _sparse };

        Tensor Part(Tensor all)
        {
            var there = _transfer?.OnDevice(all) ?? all;
            var view = request.Rows.Count == _maxRows ? there : there.narrow(0, 0, request.Rows.Count);
            return _transfer is not null || _device.type == DeviceType.CPU ? view : view.to(_device);
        }
    }

    /// <summary>Says that all that reads the batch has been queued.</summary>
    public void Release() => _transfer?.Release();

    public void Dispose()
    {
        _transfer?.Dispose();
        _features.Dispose();
        _labels.Dispose();
        _weights?.Dispose();
        _mixed?.Dispose();
    }

    private void TakeFeatures(long row, int place, BatchRequest request)
    {
        if (_sparse is not null)
        {
            _file.Sparse(row, out var slots, out var values);
            _sparse.Add(slots, values, _file.FeatureSize, _scale);
            return;
        }

        var inputs = _featureMemory + place * (long)(_file.FeatureSize + _stepSlots.Length);
        FillFeatures(row, request, inputs);
        var ids = inputs + _file.FeatureSize - _categories.Length;
        for (var i = 0; i < _categories.Length; i++)
            ids[i] = _categories[i].RowOf(ids[i]);
        if (_stepSlots.Length > 0)
            AddSteps(_file.Features(row), inputs + _file.FeatureSize);
    }

    private void AddSteps(float* features, float* inputs)
    {
        for (var i = 0; i < _stepSlots.Length; i++)
        {
            var x = features[_stepSlots[i]];
            inputs[i] = Math.Clamp(((float.IsNaN(x) ? _mean[_stepSlots[i]] : x) - _stepStart[i]) * _stepScale[i], 0f, 1f);
        }
    }

    private static long CheckClass(float label, long row, int classCount)
    {
        if (label >= 0 && label < classCount && label == MathF.Floor(label))
            return (long)label;
        throw new FormatException($"Label of row {row} is {label}, expected a class from 0 to {classCount - 1}. Encode the data again with this version.");
    }

    private void FillLabel(long row, int place, long* classes, float* values)
    {
        var label = _file.Label(row);
        if (_spec.Task == MlTask.Multiclass)
            classes[place] = CheckClass(label, row, _classCount);
        else if (_spec.Task == MlTask.Binary)
            values[place] = CheckClass(label, row, 2);
        else if (_spec.Task == MlTask.Ranking)
            values[place] = label;
        else
            values[place] = _spec.Data.Label is { } scaling ? (label - scaling.Mean) * scaling.Scale : label;
    }

    // In double: the product of two small numbers is 0 here, before it is scaled.
    private double Weight(long row, long labelled) => _file.Weight(row) * _weightScale * (_classWeights.Length == 0 ? 1 : _classWeights[(int)_file.Label(labelled)]);

    // The row's features were mixed with another's: so are its labels, by weight.
    private double Mix(long row, int place, BatchRequest request, int epoch)
    {
        var (other, share) = _images!.PartnerOf(row, epoch, request);
        FillLabel(other, place, _mixed!.Classes, _mixed.Values);
        _mixed.WeightMemory[place] = (float)((1 - share) * Weight(row, other));
        _weightMemory[place] *= (float)share;
        return _mixed.WeightMemory[place];
    }

    private void FillFeatures(long row, BatchRequest request, float* to)
    {
        if (_images is not null)
        {
            _images.Fill(row, request, to);
            return;
        }

        if (_file.Element == FeatureElement.Float32)
        {
            Standardize(_file.Features(row), to);
            return;
        }

        Widen(_file.Bytes(row), to, _file.FeatureSize);
        if (_mean.Length > 0)
            Standardize(to, to);
    }

    /// <summary>Bytes as floats.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Widen(byte* from, float* to, int count)
    {
        var i = 0;
        for (; i <= count - Vector<byte>.Count; i += Vector<byte>.Count)
        {
            Vector.Widen(Vector.Load(from + i), out var low, out var high);
            Vector.Widen(low, out var a, out var b);
            Vector.Widen(high, out var c, out var d);
            Vector.ConvertToSingle(a).Store(to + i);
            Vector.ConvertToSingle(b).Store(to + i + Vector<float>.Count);
            Vector.ConvertToSingle(c).Store(to + i + 2 * Vector<float>.Count);
            Vector.ConvertToSingle(d).Store(to + i + 3 * Vector<float>.Count);
        }

        for (; i < count; i++)
            to[i] = from[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // from the first step on: it is not called often enough to be soon
    private void Standardize(float* from, float* to)
    {
        var size = _file.FeatureSize;
        var i = 0;
        if (_mean.Length == 0)
        {
            for (; i <= size - Vector<float>.Count; i += Vector<float>.Count)
            {
                var x = Vector.Load(from + i);
                Vector.ConditionalSelect(Vector.Equals(x, x), x, Vector<float>.Zero).Store(to + i);
            }

            for (; i < size; i++)
                to[i] = float.IsNaN(from[i]) ? 0 : from[i];
            return;
        }

        fixed (float* mean = _mean, scale = _scale)
        {
            for (; i <= size - Vector<float>.Count; i += Vector<float>.Count)
            {
                var x = Vector.Load(from + i);
                var y = (x - Vector.Load(mean + i)) * Vector.Load(scale + i);
                Vector.ConditionalSelect(Vector.Equals(x, x), y, Vector<float>.Zero).Store(to + i);
            }

            for (; i < size; i++)
                to[i] = float.IsNaN(from[i]) ? 0 : (from[i] - mean[i]) * scale[i];
        }
    }
}

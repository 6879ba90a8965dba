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
    private readonly BatchTransfer? _transfer;
    private readonly float* _featureMemory;
    private readonly long* _classMemory;
    private readonly float* _valueMemory;
    private readonly float* _weightMemory;

    /// <param name="file">The rows.</param>
    /// <param name="spec">The job.</param>
    /// <param name="weightScale">Times each row's weight; 0: 1.</param>
    /// <param name="maxRows">The most rows of a part.</param>
    /// <param name="device">Where the batch goes.</param>
    /// <param name="transfer">Makes the way there of the batch's tensors; null: there is none, or as libtorch copies.</param>
    public BatchFeed(DatasetFile file, JobSpec spec, double weightScale, int maxRows, Device device, Func<IEnumerable<Tensor>, BatchTransfer?>? transfer = null)
    {
        (_file, _spec, _maxRows, _device) = (file, spec, maxRows, device);
        _weightScale = weightScale == 0 ? 1 : weightScale;
        _mean = [.. spec.Data.Features?.Mean ?? []];
        _scale = [.. spec.Data.Features?.Scale ?? []];
        _classWeights = [.. spec.ClassWeights];
        _classCount = spec.Module?.Kind?.OutputSize ?? 0;
        _features = empty([maxRows, file.FeatureSize], ScalarType.Float32).DetachFromDisposeScope();
        _labels = empty([maxRows], spec.Task == MlTask.Multiclass ? ScalarType.Int64 : ScalarType.Float32).DetachFromDisposeScope();
        _featureMemory = (float*)TorchMemory.Data(_features);
        _classMemory = (long*)TorchMemory.Data(_labels);
        _valueMemory = (float*)TorchMemory.Data(_labels);
        if (file.HasWeights || _classWeights.Length > 0)
        {
            _weights = empty([maxRows], ScalarType.Float32).DetachFromDisposeScope();
            _weightMemory = (float*)TorchMemory.Data(_weights);
        }

        _transfer = transfer?.Invoke(_weights is null ? [_features, _labels] : [_features, _labels, _weights]);
    }

    /// <summary>Loads some rows of a global batch.</summary>
    public Batch Load(BatchRequest request)
    {
        Release();
        return View(request, Fill(request));
    }

    /// <summary>Gathers the rows; from any thread.</summary>
    /// <returns>The sum of their weights.</returns>
    public double Fill(BatchRequest request)
    {
        var weightSum = 0.0;
        _transfer?.AwaitHost();
        for (var i = 0; i < request.Rows.Count; i++)
        {
            var row = request.RowAt(request.Start + request.Rows.Start + i);
            Standardize(_file.Features(row), _featureMemory + i * (long)_file.FeatureSize);
            var label = _file.Label(row);
            if (_spec.Task == MlTask.Multiclass)
                _classMemory[i] = CheckClass(label, row, _classCount);
            else if (_spec.Task == MlTask.Binary)
                _valueMemory[i] = CheckClass(label, row, 2);
            else
                _valueMemory[i] = _spec.Data.Label is { } scaling ? (label - scaling.Mean) * scaling.Scale : label;
            // In double: the product of two small numbers is 0 here, before it is scaled.
            if (_weightMemory != null)
                _weightMemory[i] = (float)(_file.Weight(row) * _weightScale * (_classWeights.Length == 0 ? 1 : _classWeights[(int)label]));
            weightSum += _weightMemory != null ? _weightMemory[i] : 1;
        }

        _transfer?.Send(request.Rows.Count);
        return weightSum;
    }

    /// <summary>What was gathered, as tensors on the device.</summary>
    public Batch View(BatchRequest request, double weightSum)
    {
        _transfer?.Await();
        return new Batch(Part(_features), Part(_labels), _weights is null ? null : Part(_weights), weightSum, request.GlobalRows, request.Rows);

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
    }

    private static long CheckClass(float label, long row, int classCount)
    {
        if (label >= 0 && label < classCount && label == MathF.Floor(label))
            return (long)label;
        throw new FormatException($"Label of row {row} is {label}, expected a class from 0 to {classCount - 1}. Encode the data again with this version.");
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

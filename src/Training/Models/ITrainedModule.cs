using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training.Data;
using MLDistributed.Training.Metrics;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>What a rank trains: parameters that are views of flat memory. A step is <see cref="Forward"/>, the loss, and <see cref="Backward"/>.</summary>
internal interface ITrainedModule : IDisposable
{
    /// <summary>The running statistics, flat; the same on all ranks. Asking brings them from the device that has them.</summary>
    float[] Buffers { get; }

    /// <summary>The outputs of a training step, rows x outputs.</summary>
    Tensor Forward(Batch batch, long step);

    /// <summary>A training step up to its loss.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="batch">This rank's rows, or a part of them.</param>
    /// <param name="epoch">From 0.</param>
    /// <param name="step">From 0, of the whole job.</param>
    /// <returns>The weighted sum over the rows, as <see cref="Loss"/>, and their outputs, rows x outputs; null: it has none.</returns>
    (Tensor LossSum, Tensor? Outputs) Train(JobSpec spec, Batch batch, int epoch, long step)
    {
        var outputs = Forward(batch, step);
        return (Loss(spec, outputs, batch), outputs);
    }

    /// <summary>The weighted sum of the rows' losses.</summary>
    Tensor Loss(JobSpec spec, Tensor outputs, Batch batch) => Losses.Sum(spec, outputs, batch);

    /// <summary>Names of its own metrics, behind the task's among <see cref="Metrics"/>.</summary>
    IReadOnlyList<string> OwnMetrics => [];

    /// <summary>The metrics of its rows.</summary>
    MetricSums Metrics(JobSpec spec) => MetricSums.Of(spec);

    /// <summary>Adds to the flat gradients those of a loss of the last <see cref="Forward"/>.</summary>
    void Backward(Tensor loss, int globalRows);

    /// <summary>The outputs of a model that is not being trained, rows x outputs.</summary>
    Tensor Predict(Tensor features);

    /// <summary>The same, of a batch's rows.</summary>
    Tensor Predict(Batch batch) => Predict(batch.Features);
}

/// <summary>A kind of module before it has memory.</summary>
internal interface IModuleSource
{
    /// <summary>Where its parameters lie.</summary>
    FlatLayout Layout { get; }

    /// <summary>Bytes that each rank holds of what is not trained.</summary>
    long FrozenBytes => 0;

    /// <summary>The trained module as an ONNX model.</summary>
    /// <param name="spec">The job: task, feature and label scaling.</param>
    /// <param name="tensors">Parameters and running statistics, by their names in <see cref="Layout"/>.</param>
    ModelProto WriteOnnx(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors);

    /// <summary>Writes the first parameters, those of the seed. Before <see cref="Create"/>.</summary>
    unsafe void Initialize(float* parameters);

    /// <summary>Makes it over flat memory.</summary>
    /// <param name="parameters">Flat, on the device to compute on.</param>
    /// <param name="gradients">Flat, as long, on that device; zero before each step.</param>
    /// <param name="maxRows">The most rows of a training batch on this rank.</param>
    /// <param name="ranks">Joins what needs the whole batch.</param>
    /// <param name="gradientsReady">Called in backward: the flat gradients from here to the end are final. Null: nobody asks. May be called never.</param>
    ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady);
}

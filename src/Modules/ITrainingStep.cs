using static TorchSharp.torch;

namespace Microsoft.ML.Distributed;

/// <summary>A module with a training step of its own: what is differentiated is what this returns. Validation and scoring go by forward.</summary>
/// <example><code>
/// // Outputs are to stay the same beside a little noise.
/// public Tensor TrainingStep(TrainingBatch batch)
/// {
///     var outputs = call(batch.Features);
///     var noisy = call(batch.Features + 0.1f * randn_like(batch.Features));
///     return nn.functional.cross_entropy(outputs, batch.Labels, reduction: nn.Reduction.None) + (outputs - noisy).square().mean([1]);
/// }
/// </code></example>
public interface ITrainingStep
{
    /// <summary>Computes the loss of a part of a batch: as many rows as a rank has, which depends on the number of ranks.</summary>
    /// <param name="batch">The rows. Its tensors are valid until this returns.</param>
    /// <returns>
    /// As <see cref="IModuleLoss.Loss"/>: the loss of each row without the weights, or one number, the rows' mean by weights. What is
    /// random, or depends on which rows come together, is another on another number of ranks.
    /// </returns>
    /// <remarks>The task's metrics of training rows are those of the first outputs of the step's <c>call(...)</c> with as many rows.</remarks>
    Tensor TrainingStep(TrainingBatch batch);
}

/// <summary>The rows of a training step that a rank has.</summary>
/// <param name="Features">[rows, features], Float32, standardised unless NormalizeFeatures is false.</param>
/// <param name="Labels">As the labels of <see cref="IModuleLoss.Loss"/>.</param>
/// <param name="Weights">As the weights of <see cref="IModuleLoss.Loss"/>.</param>
/// <param name="Epoch">The epoch, from 1.</param>
/// <param name="Step">The step, from 1 over the whole job.</param>
public sealed record TrainingBatch(Tensor Features, Tensor Labels, Tensor Weights, int Epoch, long Step);

/// <summary>A module of several inputs with a training step of its own: what is differentiated is what this returns. Validation and scoring go by forward.</summary>
/// <typeparam name="TInputs">The record of tensors that forward takes.</typeparam>
/// <typeparam name="TLabels">Of a module whose outputs are columns, as of <see cref="IModuleLoss{TOutputs, TLabels}"/>; else <see cref="Tensor"/>, the labels of <see cref="IModuleLoss.Loss"/>.</typeparam>
public interface ITrainingStep<TInputs, TLabels>
{
    /// <summary>Computes the loss of a part of a batch: as many rows as a rank has, which depends on the number of ranks.</summary>
    /// <param name="batch">The rows. Its tensors are valid until this returns.</param>
    /// <returns>As <see cref="ITrainingStep.TrainingStep"/>.</returns>
    Tensor TrainingStep(TrainingBatch<TInputs, TLabels> batch);
}

/// <summary>The rows of a training step that a rank has, of a module of several inputs.</summary>
/// <param name="Inputs">As forward has them.</param>
/// <param name="Labels">As the loss has them.</param>
/// <param name="Weights">As the loss has them.</param>
/// <param name="Epoch">The epoch, from 1.</param>
/// <param name="Step">The step, from 1 over the whole job.</param>
public sealed record TrainingBatch<TInputs, TLabels>(TInputs Inputs, TLabels Labels, Tensor Weights, int Epoch, long Step);

using Microsoft.ML.Distributed;

namespace Microsoft.ML;

/// <summary>Adds modules that Python has written as TorchScript to ML.NET's catalogs of trainers.</summary>
public static class DistributedTorchScriptCatalog
{
    /// <summary>A TorchScript module that tells classes apart, trained on a cluster. PyTorch has deprecated TorchScript: for what is written anew take <c>DistributedTorchModule</c>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="scriptPath">The file that <c>torch.jit.script(module).save(...)</c> or <c>torch.jit.trace</c> has written: from [rows, features] to [rows, classes], a number for each class without softmax. Training goes on from its parameters.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network; null: the defaults.</param>
    /// <param name="onnxPath">The ONNX file of the same module, by which its model scores, with the trained numbers in the place of those that are called as the module's parameters; null: the script's with .onnx at its end.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <exception cref="FileNotFoundException">One of the files is not there.</exception>
    /// <exception cref="FormatException">The script is no such file.</exception>
    /// <exception cref="ArgumentException">Both together are larger than 64 MiB.</exception>
    public static DistributedMulticlassTrainer DistributedTorchScript(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, string scriptPath, DistributedMulticlassTrainer.Options? options = null, string? onnxPath = null) =>
        DistributedNeuralNetworkCatalog.OfModule(catalog, options ?? new(), ModuleDescription.OfScript(scriptPath, onnxPath));

    /// <summary>A TorchScript module that answers yes or no, trained on a cluster. PyTorch has deprecated TorchScript: for what is written anew take <c>DistributedTorchModule</c>.</summary>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="scriptPath">The file that <c>torch.jit.script(module).save(...)</c> or <c>torch.jit.trace</c> has written: from [rows, features] to [rows, 1], the logit, without sigmoid. Training goes on from its parameters.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network; null: the defaults.</param>
    /// <param name="onnxPath">The ONNX file of the same module, by which its model scores, with the trained numbers in the place of those that are called as the module's parameters; null: the script's with .onnx at its end.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <exception cref="FileNotFoundException">One of the files is not there.</exception>
    /// <exception cref="FormatException">The script is no such file.</exception>
    /// <exception cref="ArgumentException">Both together are larger than 64 MiB.</exception>
    public static DistributedBinaryTrainer DistributedTorchScript(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog, string scriptPath, DistributedBinaryTrainer.Options? options = null, string? onnxPath = null) =>
        DistributedNeuralNetworkCatalog.OfModule(catalog, options ?? new(), ModuleDescription.OfScript(scriptPath, onnxPath));

    /// <summary>A TorchScript module that predicts a number, trained on a cluster. PyTorch has deprecated TorchScript: for what is written anew take <c>DistributedTorchModule</c>.</summary>
    /// <param name="catalog">The catalog, <c>ml.Regression.Trainers</c>.</param>
    /// <param name="scriptPath">The file that <c>torch.jit.script(module).save(...)</c> or <c>torch.jit.trace</c> has written: from [rows, features] to [rows, 1], the value in standard deviations from the labels' mean. Training goes on from its parameters.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network; null: the defaults.</param>
    /// <param name="onnxPath">The ONNX file of the same module, by which its model scores, with the trained numbers in the place of those that are called as the module's parameters; null: the script's with .onnx at its end.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <exception cref="FileNotFoundException">One of the files is not there.</exception>
    /// <exception cref="FormatException">The script is no such file.</exception>
    /// <exception cref="ArgumentException">Both together are larger than 64 MiB.</exception>
    public static DistributedRegressionTrainer DistributedTorchScript(
        this RegressionCatalog.RegressionTrainers catalog, string scriptPath, DistributedRegressionTrainer.Options? options = null, string? onnxPath = null) =>
        DistributedNeuralNetworkCatalog.OfModule(catalog, options ?? new(), ModuleDescription.OfScript(scriptPath, onnxPath));
}

using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;
using TorchModules;
using TorchSharp;
using static TorchSharp.torch;

namespace Training.Tests.Models;

/// <summary>What a module's type must be for the tensors that a job has for it.</summary>
[TestClass]
public sealed class ModuleRowTests
{
    private static readonly ModuleInput[] s_inputs = [Part("User"), Part("Tags"), Part("Prices")];
    private static readonly ModuleInput[] s_labels = [Part("Paid"), Part("Item")];
    private static readonly string[] s_outputs = ["Amount", "Items", "Place"];

    public static IEnumerable<object?[]> Types =>
    [
        [typeof(ShopNet), s_inputs, s_labels, s_outputs, null],
        [typeof(RatingNet), s_inputs, Array.Empty<ModuleInput>(), Array.Empty<string>(), null],
        [typeof(RatingNet), s_inputs, s_labels, s_outputs, "returns a Tensor without a public constructor and properties of the tensors Amount, Items, Place"],
        [typeof(ShopNet), s_inputs, Array.Empty<ModuleInput>(), Array.Empty<string>(), "is no nn.Module<TInputs, Tensor>"],
        [typeof(ShopNet), Array.Empty<ModuleInput>(), s_labels, s_outputs, "is no nn.Module<Tensor, TOutputs>"],
        [typeof(ShopNet), s_inputs, s_labels, new[] { "Amount", "Place" }, "returns a Forecast without a public constructor and properties of the tensors Amount, Place"],
        [typeof(ShopNet), s_inputs[..2], s_labels, s_outputs, "takes a RatingInputs without a public constructor of the tensors User, Tags"],
        [typeof(ShopNet), s_inputs, s_labels[..1], s_outputs, "has a Loss of a Bought without a public constructor of the tensors Paid"],
        [typeof(WithoutLoss), s_inputs, s_labels, s_outputs, "has no Loss of its outputs: it is no IModuleLoss<Forecast, TLabels>"],
    ];

    [TestMethod]
    [DynamicData(nameof(Types))]
    public void Refusal_TypeOfAModule_SaysWhatItLacks(Type module, ModuleInput[] inputs, ModuleInput[] labels, string[] outputs, string? refusal) =>
        Assert.AreEqual(refusal, new ModuleRow(inputs, labels, outputs).Refusal(module));

    [TestMethod]
    public void Misfit_StepOrMetricsOfOtherTensors_IsNamedWithWhatFits()
    {
        var columns = new ModuleRow(s_inputs, s_labels, s_outputs);
        Assert.IsNull(columns.Contract(typeof(SteppedShopNet)).Misfit(typeof(SteppedShopNet)));
        Assert.AreEqual((typeof(ITrainingStep), typeof(ITrainingStep<RatingInputs, Bought>)), columns.Contract(typeof(PlainStep)).Misfit(typeof(PlainStep)));
        Assert.AreEqual("ITrainingStep<RatingInputs, Bought>", ContractTypes.Shown(typeof(ITrainingStep<RatingInputs, Bought>)));
        Assert.AreEqual((typeof(IModuleMetrics<Tensor, Tensor>), typeof(IModuleMetrics)), ModuleRow.One.Contract(typeof(TypedMetrics)).Misfit(typeof(TypedMetrics)));
    }

    private static ModuleInput Part(string name) => new() { Name = name, Size = 1 };

    private sealed class WithoutLoss() : nn.Module<RatingInputs, Forecast>("none")
    {
        public override Forecast forward(RatingInputs inputs) => throw new NotSupportedException();
    }

    private sealed class PlainStep() : ShopNet(new NetOptions(2, 2, 2)), ITrainingStep
    {
        public Tensor TrainingStep(TrainingBatch batch) => throw new NotSupportedException();
    }

    private sealed class TypedMetrics() : nn.Module<Tensor, Tensor>("none"), IModuleMetrics<Tensor, Tensor>
    {
        public override Tensor forward(Tensor inputs) => throw new NotSupportedException();

        public IReadOnlyDictionary<string, Tensor> Metrics(Tensor outputs, Tensor labels, Tensor weights) => throw new NotSupportedException();
    }
}

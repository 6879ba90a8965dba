using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training;
using MLDistributed.Training.Models;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Models;

/// <summary>TorchScript modules of Python's: what they are to a rank, and the graphs that they are scored by.</summary>
[TestClass]
public sealed class TorchScriptTests
{
    private const int Rows = 5;

    [TestMethod]
    [DataRow("dense", "dense", 64, 10), DataRow("steps", "steps", 64, 10), DataRow("convolutional", "convolutional", 64, 10), DataRow("convolutional", "convolutional-dynamic", 64, 10), DataRow("number", "number", 10, 1)]
    public void Open_ScriptAndItsOnnx_GivesTheSameNumbersHereAndInOnnxRuntime(string name, string onnxName, int inputs, int outputs)
    {
        RankTraining.Preload();
        using var folder = new TempFolder();
        var spec = Spec(name, inputs, outputs);

        var source = UserModule.Open(new RankStart { Spec = spec, CodePath = Package(folder, name, onnxName) });

        using var module = source.Module;
        using var frozen = no_grad();
        module.eval();
        // As if they had been trained.
        foreach (var (_, parameter) in source.Tensors.Trained)
            parameter.add_(randn_like(parameter) * 0.1f);
        using var features = randn(Rows, inputs);
        using var expected = source.Row.Call(module, features);
        var values = source.Tensors.Trained.Select(t => (t.Name, (Tensor)t.Parameter)).Concat(source.Tensors.Buffers).ToDictionary(t => t.Item1, t => t.Item2.data<float>().ToArray());
        spec.Task = MlTask.Regression; // without softmax
        var onnx = source.WriteOnnx(spec, values).ToByteArray();
        var (right, rows) = (expected.data<float>().ToArray(), features.data<float>().ToArray());
        var run = OnnxProgram.Read(onnx, spec).CreateRunner();
        var ours = new float[outputs];
        using var session = new InferenceSession(onnx);
        using var given = OrtValue.CreateTensorValueFromMemory(rows, [Rows, inputs]);
        using var options = new RunOptions();
        using var results = session.Run(options, ["features"], [given], session.OutputNames);
        var theirs = results[0].GetTensorDataAsSpan<float>().ToArray();
        for (var i = 0; i < right.Length; i++)
        {
            if (i % outputs == 0)
                run(rows.AsSpan(i / outputs * inputs, inputs), ours);
            Assert.AreEqual(right[i], ours[i % outputs], 1e-5f * Math.Max(1, Math.Abs(right[i])), $"ours at {i}");
            Assert.AreEqual(right[i], theirs[i], 1e-5f * Math.Max(1, Math.Abs(right[i])), $"ONNX Runtime's at {i}");
        }

        Assert.AreEqual(spec.Module.Torch.Type, ModuleTensors.NameOf(module));
    }

    [TestMethod]
    [DataRow("dense", "dense", 64, 3, "Module \"dense.pt\" put out [2, 10] of Float32 for 2 rows, expected [2, 3]", DisplayName = "other outputs")]
    [DataRow("dense", "dense", 9, 10, "Module \"dense.pt\" failed in its forward: InvalidOperationException: mat1 and mat2 shapes cannot be multiplied (2x9 and 64x32)", DisplayName = "other inputs")]
    [DataRow("throwing", "dense", 64, 10, "Module \"throwing.pt\" failed in its forward", DisplayName = "one that throws")]
    [DataRow("constant", "dense", 64, 10, "Module \"constant.pt\" has no parameters to train", DisplayName = "no parameters")]
    [DataRow("statistics", "convolutional", 64, 10, "Buffer \"features.1.running_mean\" of module \"statistics.pt\" changes in forward", DisplayName = "running statistics")]
    [DataRow("steps", "steps-folded", 64, 10, "\"each.weight\"", DisplayName = "weights folded into constants")]
    [DataRow("dense", "number", 64, 10, "The ONNX file of TorchScript module \"dense.pt\" cannot be used: has numbers [32, 10] by the name of \"body.weight\", which is [32, 64]", DisplayName = "another's ONNX")]
    [DataRow("dense", "convolutional", 64, 10, "It has no numbers by the name of \"body.weight\"", DisplayName = "another's ONNX with other names")]
    [DataRow("smooth", "smooth", 64, 10, "(Erf)", DisplayName = "an operator that is not known")]
    [DataRow("state", "dense", 64, 10, "TorchScript file \"state.pt\" has tensors and no code, as torch.save makes it", DisplayName = "tensors alone")]
    public void Open_ScriptThatIsNotOneToTrain_NamesItsFile(string script, string onnx, int inputs, int outputs, string words)
    {
        RankTraining.Preload();
        using var folder = new TempFolder();
        var e = Assert.ThrowsExactly<UserModuleException>(() => UserModule.Open(new RankStart { Spec = Spec(script, inputs, outputs), CodePath = Package(folder, script, onnx) }));
        StringAssert.Contains(e.Message, words);
        StringAssert.Contains(e.Message, $"{script}.pt");
    }

    [TestMethod]
    [DataRow("newer", "is of version 99, made by a newer PyTorch")]
    [DataRow("damaged", "could not be loaded: ")]
    public void Load_FileThatIsNotWholeOrNewer_SaysSo(string file, string words)
    {
        RankTraining.Preload();
        var e = Assert.ThrowsExactly<UserModuleException>(() => ScriptNet.Load(File.ReadAllBytes(PathOf($"{file}.pt")), $"{file}.pt"));
        StringAssert.Contains(e.Message, $"TorchScript file \"{file}.pt\" {words}");
    }

    [TestMethod]
    public void Load_HalfOfAFile_SaysSo()
    {
        RankTraining.Preload();
        var whole = File.ReadAllBytes(PathOf("dense.pt"));
        StringAssert.Contains(Assert.ThrowsExactly<UserModuleException>(() => ScriptNet.Load(whole[..(whole.Length / 2)], "half.pt")).Message, "TorchScript file \"half.pt\" of 9,582 bytes is no zip archive");
    }

    [TestMethod]
    public void Train_Script_GivesTheSameModelOnAnyNumberOfRanks()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 64, 90, i => [.. Enumerable.Range(0, 64).Select(j => MathF.Sin((i * 7) + (j * (i % 3))))], i => i % 3);
        var content = File.ReadAllBytes(PathOf("steps.pt"));
        var runs = new[] { 1, 2, 3 }.Select(worldSize => Cluster.Train(
            Cluster.Spec(s => (s.Epochs, s.GlobalBatchSize, s.Module) = (4, 20, new ModuleSpec { Torch = new TorchModuleSpec { InputSize = 64, OutputSize = 10 } })), worldSize, folder["data"],
            configure: r => r.Value with { Module = s => new TorchModuleSource(() => ScriptNet.Load(content, "steps.pt"), s.Seed) { OutputSize = 10 } }).ShouldSucceed()).ToArray();
        Assert.IsLessThan(runs[0].Losses[0], runs[0].Losses[^1]);
        foreach (var run in runs.Skip(1))
            foreach (var (name, values) in runs[0].Tensors)
                for (var i = 0; i < values.Length; i++)
                    Assert.AreEqual(values[i], run.Tensors[name][i], 1e-4f, $"{name}[{i}]");
        CollectionAssert.IsSubsetOf(new[] { "each.weight", "places", "scale" }, runs[0].Tensors.Keys.ToArray());
    }

    private static JobSpec Spec(string name, int inputs, int outputs) => new()
    {
        Task = outputs == 1 ? MlTask.Regression : MlTask.Multiclass,
        Seed = 1,
        Optimizer = new OptimizerSpec(),
        Module = new ModuleSpec { Torch = new TorchModuleSpec { IsScript = true, Type = $"{name}.pt", InputSize = inputs, OutputSize = outputs } },
    };

    private static string PathOf(string file) => Path.Combine(AppContext.BaseDirectory, "Scripts", file);

    private static string Package(TempFolder folder, string script, string onnx)
    {
        File.WriteAllBytes(folder["code"], TorchScript.Pack(File.ReadAllBytes(PathOf($"{script}.pt")), File.ReadAllBytes(PathOf($"{onnx}.onnx"))));
        return folder["code"];
    }
}

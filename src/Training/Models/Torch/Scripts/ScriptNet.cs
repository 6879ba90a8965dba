using MLDistributed.Protocol;
using MLDistributed.Training.Native;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A TorchScript module as one of TorchSharp's: its tensors have the names that it gives them.</summary>
internal sealed class ScriptNet : nn.Module<Tensor, Tensor>
{
    private const string PythonError = "RuntimeError: ";
    private readonly jit.ScriptModule<Tensor, Tensor> _script;

    private ScriptNet(string file, jit.ScriptModule<Tensor, Tensor> script)
        : base(file) => (File, _script) = (file, script);

    /// <summary>What its file is called.</summary>
    public string File { get; }

    public override bool training => _script.training;

    /// <param name="content">The file's bytes.</param>
    /// <param name="file">What it is called.</param>
    /// <remarks>What its code lacks, as an operator that this libtorch does not know, ends the process: CrashReport has the words for it.</remarks>
    /// <exception cref="UserModuleException">libtorch cannot read it.</exception>
    public static ScriptNet Load(byte[] content, string file)
    {
        try
        {
            TorchScript.Check(content, file);
            return new ScriptNet(file, jit.load<Tensor, Tensor>(content));
        }
        catch (FormatException e)
        {
            throw new UserModuleException(e.Message, inner: e);
        }
        catch (Exception e) when (e is not OutOfMemoryException && !NativeMessage.IsOutOfMemory(e.Message))
        {
            throw new UserModuleException($"TorchScript file \"{file}\" could not be loaded: {Reason(e.Message)}, expected a module that libtorch {LibtorchFolder.PackageVersion} reads. Save it again, by a PyTorch that is not newer.", inner: e);
        }
    }

    public override Tensor forward(Tensor input)
    {
        try
        {
            return _script.forward(input);
        }
        catch (Exception e) when (e.Message.Contains(PythonError, StringComparison.Ordinal) && !NativeMessage.IsOutOfMemory(e.Message))
        {
            throw new InvalidOperationException(Reason(e.Message), e);
        }
    }

    public override IEnumerable<(string name, Parameter parameter)> named_parameters(bool recurse = true) => _script.named_parameters(recurse);

    public override IEnumerable<(string name, Tensor buffer)> named_buffers(bool recurse = true, bool include_nonpersistent = true) => _script.named_buffers(recurse, include_nonpersistent);

    public override void train(bool train = true) => _script.train(train);

    /// <summary>Moves its tensors, which TorchSharp cannot have another class do.</summary>
    public void Move(torch.Device device) => _script.to(device);

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _script.Dispose();
        base.Dispose(disposing);
    }

    // The last line of what the interpreter says; before it are those of the script.
    private static string Reason(string message)
    {
        var start = message.LastIndexOf(PythonError, StringComparison.Ordinal);
        return NativeMessage.FirstSentence(start < 0 ? message : message[(start + PythonError.Length)..]).TrimEnd('.', ':');
    }
}

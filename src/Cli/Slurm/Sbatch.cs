using System.ComponentModel;
using System.Diagnostics;

namespace MLDistributed.Cli.Slurm;

/// <summary>Hands a script to Slurm.</summary>
internal static class Sbatch
{
    /// <summary>The number of the job.</summary>
    /// <exception cref="CliException">Slurm is not there, or refuses it.</exception>
    public static async Task<string> SubmitAsync(string script, string folder, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo("sbatch", ["--parsable", "--chdir", folder, script]) { RedirectStandardOutput = true, RedirectStandardError = true };
        Process started;
        try
        {
            started = Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new CliException($"sbatch cannot be started ({e.Message}), expected Slurm on this machine. Run this on a login node, or take the script to one: {script}");
        }

        using var sbatch = started;
        var output = sbatch.StandardOutput.ReadToEndAsync(cancellation);
        var errors = sbatch.StandardError.ReadToEndAsync(cancellation);
        await sbatch.WaitForExitAsync(cancellation).ConfigureAwait(false);
        var said = (await errors.ConfigureAwait(false)).Trim();
        if (sbatch.ExitCode != 0)
            throw new CliException($"Slurm refused the job: {said.ReplaceLineEndings(" ")} See {script}, and --sbatch for more options.");
        // "17" or "17;cluster".
        return (await output.ConfigureAwait(false)).Trim().Split(';')[0];
    }
}

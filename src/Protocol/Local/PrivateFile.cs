namespace MLDistributed.Protocol;

/// <summary>A file that its owner alone may read: keys, tokens, users' rows.</summary>
public static class PrivateFile
{
    /// <summary>Opens it for writing.</summary>
    /// <param name="path">The file.</param>
    /// <param name="mode"><see cref="FileMode.Create"/> or <see cref="FileMode.CreateNew"/>. One that is there keeps the mode it has.</param>
    public static FileStream Open(string path, FileMode mode)
    {
        var options = new FileStreamOptions { Mode = mode, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        return new FileStream(path, options);
    }
}

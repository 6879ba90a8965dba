// widen <output folder> <assembly>...: copies each assembly with its internal members made visible, for the compiler
// only. ML.NET keeps what a trainer needs internal; the runtime honours IgnoresAccessChecksTo, the compiler does not,
// so the compiler reads these copies while the app runs on ML.NET's own, untouched assemblies.

using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

var outputFolder = Directory.CreateDirectory(args[0]).FullName;
foreach (var path in args[1..])
    File.WriteAllBytes(Path.Combine(outputFolder, Path.GetFileName(path)), Widen(File.ReadAllBytes(path)));

static byte[] Widen(byte[] image)
{
    using var pe = new PEReader(new MemoryStream(image));
    var metadata = pe.GetMetadataReader();

    // TypeDef row: Flags(4)...; MethodDef row: RVA(4) ImplFlags(2) Flags(2)...; Field row: Flags(2)... (ECMA-335 II.22)
    Patch(TableIndex.TypeDef, 0, flags => (flags & ~(int)TypeAttributes.VisibilityMask) | (int)WidenType(flags));
    Patch(TableIndex.MethodDef, 6, flags => WidenMember(flags) & ~(int)MethodAttributes.CheckAccessOnOverride);
    Patch(TableIndex.Field, 0, WidenMember);
    return image;

    void Patch(TableIndex table, int offset, Func<int, int> widen)
    {
        var row = pe.PEHeaders.MetadataStartOffset + metadata.GetTableMetadataOffset(table) + offset;
        for (var i = 0; i < metadata.GetTableRowCount(table); i++, row += metadata.GetTableRowSize(table))
        {
            // Visibility sits in the low 16 bits of all three tables.
            var flags = BitConverter.ToUInt16(image, row);
            BitConverter.TryWriteBytes(image.AsSpan(row), (ushort)widen(flags));
        }
    }
}

static TypeAttributes WidenType(int flags) => ((TypeAttributes)flags & TypeAttributes.VisibilityMask) switch
{
    TypeAttributes.NotPublic or TypeAttributes.Public => TypeAttributes.Public,
    TypeAttributes.NestedPrivate => TypeAttributes.NestedPrivate,
    _ => TypeAttributes.NestedPublic,
};

// Private stays private; "private protected" and "protected internal" become protected, so that overrides compile.
static int WidenMember(int flags) => (flags & ~(int)MethodAttributes.MemberAccessMask) | (int)(
    ((MethodAttributes)flags & MethodAttributes.MemberAccessMask) switch
    {
        MethodAttributes.FamANDAssem or MethodAttributes.FamORAssem => MethodAttributes.Family,
        MethodAttributes.Assembly => MethodAttributes.Public,
        var other => other,
    });
